"""Directories and trees."""

import errno
import os
import stat

from passerelle.storage.remote.outcome import Call, Cancelled, Failure
from passerelle.storage.remote.rows import link_target, look, row_maker, row_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PIECE = 1 << 16  # of a long answer; what has been sent travels while the rest is being made
DOT = ord(".")


def list_files(
    call: Call,
    path: bytes,
    columns: "Sequence[tuple[str, str]]",
    hidden: bool,
    recursive: bool,
    dereference: bool,
    limit: int,
) -> "Iterator[bytes]":
    """A JSON array in the order of GNU `ls` in the C locale, piece by piece; what is no directory is listed itself."""
    top = look(path, dereference)
    if not stat.S_ISDIR(top.st_mode):
        yield b"[" + row_of(path, dereference, columns) + b"]"
        return
    row = row_maker(columns)
    above = ((top.st_dev, top.st_ino),)
    rows: list[str] = []
    opening, size, total = "[", 0, 0
    for name, st, target in _walk(call, path, above, hidden, recursive, dereference):
        rows.append(row(name, st, target))
        size += len(rows[-1])
        if size > PIECE:
            yield (opening + ",".join(rows)).encode()
            opening, size, total, rows = ",", 0, total + size, []
            if total > limit:
                raise Failure("limit", path, errno.EFBIG)
    yield ((opening if rows or opening == "[" else "") + ",".join(rows) + "]").encode()


def _walk(
    call: Call,
    path: bytes,
    above: "tuple[tuple[int, int], ...]",
    hidden: bool,
    recursive: bool,
    dereference: bool,
) -> "Iterator[tuple[bytes, os.stat_result, bytes | None]]":
    """A directory's entries, then those of each directory in it, with their names relative to `path`."""
    pending = [(path, b"", above)]
    while pending:
        directory, prefix, above = pending.pop()
        below = []
        for name, st, target in _entries(call, directory, hidden, dereference):
            yield prefix + name, st, target
            if recursive and stat.S_ISDIR(st.st_mode):
                identity = (st.st_dev, st.st_ino)
                if identity not in above:  # a link may lead back up
                    deeper = os.path.join(directory, name)
                    below.append((deeper, prefix + name + b"/", (*above, identity)))
        pending.extend(reversed(below))


def _entries(
    call: Call, directory: bytes, hidden: bool, dereference: bool
) -> "Iterator[tuple[bytes, os.stat_result, bytes | None]]":
    try:
        names = os.listdir(directory)
    except OSError as error:
        raise Failure("open", directory, error.errno or 0) from None
    base = directory.rstrip(b"/") + b"/"
    stat_of = os.stat if dereference else os.lstat
    for name in sorted(name for name in names if hidden or name[0] != DOT):
        if call.cancelled:
            raise Cancelled
        try:
            st = stat_of(base + name)
        except OSError as error:
            if error.errno == errno.ENOENT and not dereference:
                continue  # removed since the directory was read
            raise Failure("access", base + name, error.errno or 0) from None
        linked = stat.S_ISLNK(st.st_mode)
        yield name, st, link_target(base + name) if linked else None

"""Directories, whole or page by page."""

import errno
import fnmatch
import itertools
import os
import stat

from passerelle.storage.remote.opening import look, looked_at, open_directory
from passerelle.storage.remote.outcome import Call, Cancelled, Failure, raw
from passerelle.storage.remote.rows import row_maker, row_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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
    pattern: str = "",
    after: str = "",
    count: "int | None" = None,
) -> "Iterator[bytes]":
    """A JSON array in the order of GNU `ls` in the C locale, piece by piece; what is no directory is listed itself.

    At most `count` entries, of those that match `pattern` and come behind the one named `after`. Failure (EFBIG) when
    they have more than `limit` bytes, without what separates them.
    """
    top = look(call, path, dereference)
    if not stat.S_ISDIR(top.st_mode):
        yield b"[" + row_of(call, path, dereference, columns) + b"]"
        return
    row = row_maker(columns)
    rows: list[str] = []
    opening, size, total = "[", 0, 0
    tree = Tree(call, hidden, recursive, dereference, wanted_names(raw(pattern), raw(after)))
    for name, st, target in itertools.islice(tree.entries(path, top), count):
        rows.append(row(name, st, target))
        size += len(rows[-1])
        if size > PIECE:
            yield (opening + ",".join(rows)).encode()
            opening, size, total, rows = ",", 0, total + size, []
            _require_fit(path, total, limit)
    _require_fit(path, total + size, limit)
    yield ((opening if rows or opening == "[" else "") + ",".join(rows) + "]").encode()


def _require_fit(path: bytes, size: int, limit: int) -> None:
    if size > limit:
        raise Failure("limit", path, errno.EFBIG)


def wanted_names(pattern: bytes, after: bytes) -> "Callable[[bytes], bool] | None":
    """Whether an entry shall be listed, by its path in the tree; None when every one shall."""
    if not pattern and not after:
        return None
    matches = matcher(pattern)
    if not after:
        return matches
    begin = _place(after)
    return lambda name: _place(name) > begin and matches(name)


def matcher(pattern: bytes) -> "Callable[[bytes], bool]":
    """Whether the last component of a path matches a shell pattern, if there is one."""
    if not pattern:
        return lambda name: True
    return lambda name: fnmatch.fnmatchcase(os.path.basename(name), pattern)


def _place(name: bytes) -> "list[tuple[bool, bytes]]":
    """What sorts the entries of a tree in the order of `ls -R`: a directory's own ones before those below them."""
    *directories, last = name.split(b"/")
    return [*((True, directory) for directory in directories), (False, last)]


class Tree:
    """How a directory tree is gone through; entries that are not `wanted` are left out, what is below them is not."""

    def __init__(
        self,
        call: Call,
        hidden: bool,
        recursive: bool,
        dereference: bool,
        wanted: "Callable[[bytes], bool] | None",
    ) -> None:
        self._call = call
        self._hidden = hidden
        self._recursive = recursive
        self._dereference = dereference
        self._wanted = wanted

    def entries(
        self, path: bytes, top: os.stat_result
    ) -> "Iterator[tuple[bytes, os.stat_result, bytes | None]]":
        """A directory's entries, then those of each directory in it, with their names relative to `path`."""
        above: tuple[tuple[int, int], ...] = ((top.st_dev, top.st_ino),)
        pending = [(path, b"", above)]
        while pending:
            directory, prefix, above = pending.pop()
            below = []
            for name, st, target in self._in(directory, prefix):
                if self._wanted is None or self._wanted(prefix + name):
                    yield prefix + name, st, target
                if self._recursive and stat.S_ISDIR(st.st_mode):
                    identity = (st.st_dev, st.st_ino)
                    if identity not in above:  # a link may lead back up
                        deeper = os.path.join(directory, name)
                        below.append((deeper, prefix + name + b"/", (*above, identity)))
            pending.extend(reversed(below))

    def _in(
        self, directory: bytes, prefix: bytes
    ) -> "Iterator[tuple[bytes, os.stat_result, bytes | None]]":
        fd = open_directory(self._call, directory)
        try:
            for name in self._names(fd, directory, prefix):
                if self._call.cancelled:
                    raise Cancelled
                try:
                    st = os.lstat(name, dir_fd=fd)
                    target = os.readlink(name, dir_fd=fd) if stat.S_ISLNK(st.st_mode) else None
                except OSError as error:
                    if error.errno == errno.ENOENT and not self._dereference:
                        continue  # removed since the directory was read
                    path = os.path.join(directory, name)
                    raise Failure("access", path, error.errno or 0) from None
                if target is not None and self._dereference:
                    path = os.path.join(directory, name)
                    st, target = looked_at(self._call, path, True, name, fd)
                yield name, st, target
        finally:
            os.close(fd)

    def _names(self, fd: int, directory: bytes, prefix: bytes) -> "Sequence[bytes]":
        try:
            names = [os.fsencode(name) for name in os.listdir(fd)]
        except OSError as error:
            raise Failure("open", directory, error.errno or 0) from None
        if self._wanted and not self._recursive:  # spares the system questions about the others
            names = [name for name in names if self._wanted(prefix + name)]
        return sorted(name for name in names if self._hidden or name[0] != DOT)

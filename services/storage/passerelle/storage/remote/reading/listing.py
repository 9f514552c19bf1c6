"""Listing directories."""

import errno
import fnmatch
import itertools
import os
import stat

from passerelle.storage.remote.opening import open_directory, stat_path, stat_with_target
from passerelle.storage.remote.outcome import Call, Cancelled, Failure, raw
from passerelle.storage.remote.registry import BY_ARGUMENT, operation
from passerelle.storage.remote.rows import row_maker, row_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PIECE = 1 << 16  # bytes of a long answer that are sent while the next ones are prepared
DOT = ord(".")


@operation("list", path=BY_ARGUMENT)
@operation("table", path=BY_ARGUMENT)
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
    """A JSON array of entries in pieces, in the order of GNU `ls` in the C locale. For a file, its only entry is that.

    It has at most `count` of the entries that match `pattern` and sort after the entry `after`. Failure (EFBIG) when
    the entries have more than `limit` bytes, not counting separators.
    """
    top = stat_path(call, path, dereference)
    if not stat.S_ISDIR(top.st_mode):
        yield b"[" + row_of(call, path, dereference, columns) + b"]"
        return
    row = row_maker(columns)
    rows: list[str] = []
    opening, size, total = "[", 0, 0
    tree = Tree(call, hidden, recursive, dereference, name_filter(raw(pattern), raw(after)))
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


def name_filter(pattern: bytes, after: bytes) -> "Callable[[bytes], bool] | None":
    """A predicate on an entry's path in the tree: whether it is listed. None when all entries are."""
    if not pattern and not after:
        return None
    matches = matcher(pattern)
    if not after:
        return matches
    begin = _sort_key(after)
    return lambda name: _sort_key(name) > begin and matches(name)


def matcher(pattern: bytes) -> "Callable[[bytes], bool]":
    """A predicate: whether the last component of a path matches the shell pattern; always true without a pattern."""
    if not pattern:
        return lambda name: True
    return lambda name: fnmatch.fnmatchcase(os.path.basename(name), pattern)


def _sort_key(name: bytes) -> "list[tuple[bool, bytes]]":
    """A key that sorts entries in the order of `ls -R`: a directory's entries before those of its subdirectories."""
    *directories, last = name.split(b"/")
    return [*((True, directory) for directory in directories), (False, last)]


class Tree:
    """Walks a directory tree. Entries for which `is_listed` is false are left out, but not what is below them."""

    def __init__(
        self,
        call: Call,
        hidden: bool,
        recursive: bool,
        dereference: bool,
        is_listed: "Callable[[bytes], bool] | None",
    ) -> None:
        self._call = call
        self._hidden = hidden
        self._recursive = recursive
        self._dereference = dereference
        self._is_listed = is_listed

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
                if self._is_listed is None or self._is_listed(prefix + name):
                    yield prefix + name, st, target
                if self._recursive and stat.S_ISDIR(st.st_mode):
                    identity = (st.st_dev, st.st_ino)
                    if identity not in above:  # a link may lead to a directory above
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
                    st, target = stat_with_target(self._call, path, True, name, fd)
                yield name, st, target
        finally:
            os.close(fd)

    def _names(self, fd: int, directory: bytes, prefix: bytes) -> "Sequence[bytes]":
        try:
            names = [os.fsencode(name) for name in os.listdir(fd)]
        except OSError as error:
            raise Failure("open", directory, error.errno or 0) from None
        if self._is_listed and not self._recursive:  # saves lstat(2) of the others
            names = [name for name in names if self._is_listed(prefix + name)]
        return sorted(name for name in names if self._hidden or name[0] != DOT)

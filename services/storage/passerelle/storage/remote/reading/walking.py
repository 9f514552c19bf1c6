"""Walking trees of any size in constant memory."""

import errno
import os
import stat
import time
from contextlib import suppress

from passerelle.storage.remote.boundary import Outside
from passerelle.storage.remote.opening import (
    open_directory,
    scan_directory,
    stat_path,
    stat_with_target,
)
from passerelle.storage.remote.outcome import INTERVAL, Call, Failure, raw
from passerelle.storage.remote.reading.listing import DOT, PIECE, matcher
from passerelle.storage.remote.registry import BY_ARGUMENT, operation
from passerelle.storage.remote.rows import row_maker, row_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@operation("walk", path=BY_ARGUMENT)
def walk(
    call: Call,
    path: bytes,
    columns: "Sequence[tuple[str, str]]",
    hidden: bool,
    dereference: bool,
    pattern: str,
    max_depth: int,
    types: "Sequence[int]",
) -> "Iterator[bytes]":
    """JSON arrays of the entries of a tree, in the order of readdir(3). A directory comes before its entries.

    An array is sent at least once a second, even an empty one. Directories that cannot be read are skipped, and the
    first such failure is raised at the end. With `dereference`, links that lead nowhere or out of the filesystems are
    reported as links. `types` are those of stat(2); empty for all.
    """
    top = stat_path(call, path, dereference)
    if not stat.S_ISDIR(top.st_mode):
        yield b"[" + row_of(call, path, dereference, columns) + b"]"
        return
    matches, row = matcher(raw(pattern)), row_maker(columns)
    rows: list[str] = []
    size, sent = 0, time.monotonic()
    tree_walk = TreeWalk(call, hidden, dereference, max_depth)
    for name, st, target in tree_walk.entries(path, top):
        if matches(name) and (not types or stat.S_IFMT(st.st_mode) in types):
            rows.append(row(name, st, target))
            size += len(rows[-1])
        if size > PIECE or time.monotonic() - sent > INTERVAL:
            yield ("[" + ",".join(rows) + "]").encode()
            rows, size, sent = [], 0, time.monotonic()
    yield ("[" + ",".join(rows) + "]").encode()
    if tree_walk.failure:
        raise tree_walk.failure


class Level:
    """An open directory of the walk: its path, the prefix of its entries' names, and its device and inode."""

    def __init__(self, fd: int, path: bytes, prefix: bytes, identity: "tuple[int, int]") -> None:
        self.entries = scan_directory(fd, path)
        self.fd = fd
        self.path = path
        self.prefix = prefix
        self.identity = identity

    def close(self) -> None:
        """Close the directory."""
        self.entries.close()
        os.close(self.fd)


class TreeWalk:
    """A walk through a tree, with one open directory for each level. `failure` is the first one, or None."""

    def __init__(self, call: Call, hidden: bool, dereference: bool, max_depth: int) -> None:
        self._call = call
        self._hidden = hidden
        self._dereference = dereference
        self._max_depth = max_depth
        self.failure: Failure | None = None

    def entries(
        self, path: bytes, top: os.stat_result
    ) -> "Iterator[tuple[bytes, os.stat_result, bytes | None]]":
        """The entries: name relative to `path`, stat result, and the target of links."""
        levels: list[Level] = []
        try:
            self._enter(levels, path, b"", top)
            while levels:
                level = levels[-1]
                name = self._next(level)
                if name is None:
                    levels.pop().close()
                    continue
                entry = self._stat_entry(level, name)
                if entry is None or (name[0] == DOT and not self._hidden):
                    continue
                st, target = entry
                yield level.prefix + name, st, target
                if stat.S_ISDIR(st.st_mode) and not 0 < self._max_depth <= len(levels):
                    whole = os.path.join(level.path, name)
                    self._enter(levels, whole, level.prefix + name + b"/", st, name, level.fd)
        finally:
            for level in levels:
                level.close()

    def _enter(
        self,
        levels: "list[Level]",
        directory: bytes,
        prefix: bytes,
        st: os.stat_result,
        name: "bytes | None" = None,
        parent: "int | None" = None,
    ) -> None:
        identity = (st.st_dev, st.st_ino)
        if identity in (level.identity for level in levels):
            return  # a link to a directory above
        try:
            fd = open_directory(self._call, directory, name, parent)
        except Outside:
            if parent is None:
                raise
        except Failure as failure:
            self._note(failure)
        else:
            levels.append(Level(fd, directory, prefix, identity))

    def _next(self, level: "Level") -> "bytes | None":
        self._call.check()
        try:
            entry = next(level.entries, None)
        except OSError as error:
            self._note(Failure("open", level.path, error.errno or 0))
            return None
        return entry.name if entry else None

    def _stat_entry(
        self, level: "Level", name: bytes
    ) -> "tuple[os.stat_result, bytes | None] | None":
        """The entry's stat result and link target; None when stat(2) fails, also because it was removed meanwhile."""
        try:
            st = os.lstat(name, dir_fd=level.fd)
            target = os.readlink(name, dir_fd=level.fd) if stat.S_ISLNK(st.st_mode) else None
        except OSError as error:
            if error.errno != errno.ENOENT:
                self._note(Failure("access", os.path.join(level.path, name), error.errno or 0))
            return None
        if self._dereference and target is not None:
            with suppress(Failure):  # the link leads nowhere, or out of the filesystems
                return stat_with_target(
                    self._call, os.path.join(level.path, name), True, name, level.fd
                )
        return st, target

    def _note(self, failure: Failure) -> None:
        self.failure = self.failure or failure

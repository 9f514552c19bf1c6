"""Trees of any size, in constant memory."""

import errno
import os
import stat
import time

from passerelle.storage.remote.boundary import Outside
from passerelle.storage.remote.listing import DOT, PIECE, matcher
from passerelle.storage.remote.outcome import INTERVAL, Call, Failure, raw
from passerelle.storage.remote.rows import link_target, look, row_maker, row_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any


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
    """JSON arrays of what is in a tree, directories before what is in them, in the order in which the system has it.

    An array comes at least once a second, be it empty. Directories that cannot be read are passed by; the first such
    failure is raised at the end. Links that lead nowhere, or out of the filesystems, are told as links. `types` are
    those of stat(2); all when empty.
    """
    top = look(path, dereference)
    if not stat.S_ISDIR(top.st_mode):
        yield b"[" + row_of(path, dereference, columns) + b"]"
        return
    matches, row = matcher(raw(pattern)), row_maker(columns)
    rows: list[str] = []
    size, sent = 0, time.monotonic()
    steps = Steps(call, hidden, dereference, max_depth)
    for name, st in steps.through(path, top):
        if matches(name) and (not types or stat.S_IFMT(st.st_mode) in types):
            linked = stat.S_ISLNK(st.st_mode)
            rows.append(row(name, st, link_target(os.path.join(path, name)) if linked else None))
            size += len(rows[-1])
        if size > PIECE or time.monotonic() - sent > INTERVAL:
            yield ("[" + ",".join(rows) + "]").encode()
            rows, size, sent = [], 0, time.monotonic()
    yield ("[" + ",".join(rows) + "]").encode()
    if steps.failure:
        raise steps.failure


class Steps:
    """A way through a tree that holds open one directory for each level."""

    def __init__(self, call: Call, hidden: bool, dereference: bool, max_depth: int) -> None:
        self.failure: Failure | None = None
        self._call = call
        self._hidden = hidden
        self._dereference = dereference
        self._max_depth = max_depth

    def through(self, path: bytes, top: os.stat_result) -> "Iterator[tuple[bytes, os.stat_result]]":
        """Names relative to `path`, and what is known."""
        levels: list[tuple[Any, bytes, tuple[int, int]]] = []
        try:
            self._enter(levels, path, b"", top)
            while levels:
                entries, prefix, _ = levels[-1]
                name = self._next(entries, os.path.join(path, prefix))
                if name is None:
                    levels.pop()[0].close()
                    continue
                whole = os.path.join(path, prefix, name)
                st = self._look(whole)
                if st is None or (name[0] == DOT and not self._hidden):
                    continue
                yield prefix + name, st
                if stat.S_ISDIR(st.st_mode) and not 0 < self._max_depth <= len(levels):
                    self._enter(levels, whole, prefix + name + b"/", st)
        finally:
            for entries, _, _ in levels:
                entries.close()

    def _enter(
        self, levels: "list[Any]", directory: bytes, prefix: bytes, st: os.stat_result
    ) -> None:
        identity = (st.st_dev, st.st_ino)
        if identity in (level[2] for level in levels):
            return  # a link that leads back up
        try:
            levels.append((os.scandir(directory), prefix, identity))
        except OSError as error:
            self._note(Failure("open", directory, error.errno or 0))

    def _next(self, entries: "Any", directory: bytes) -> "bytes | None":
        self._call.check()
        try:
            entry = next(entries, None)
        except OSError as error:
            self._note(Failure("open", directory, error.errno or 0))
            return None
        return entry.name if entry else None

    def _look(self, path: bytes) -> "os.stat_result | None":
        """What is there; None when that cannot be told, or it was removed since the directory was read."""
        try:
            st = os.lstat(path)
        except OSError as error:
            if error.errno != errno.ENOENT:
                self._note(Failure("access", path, error.errno or 0))
            return None
        if self._dereference and stat.S_ISLNK(st.st_mode):
            try:
                self._call.boundary.demand(path)
                return os.stat(path)
            except (OSError, Outside):
                return st
        return st

    def _note(self, failure: Failure) -> None:
        self.failure = self.failure or failure

"""Copying and moving files and trees.

A copy is made under a hidden name in the target's directory, and renamed when it is complete. Entries are named
relative to open directories, so that links which replace directories meanwhile have no effect, and no path is too long.
"""

import errno
import json
import os
import stat
from contextlib import contextmanager

from passerelle.storage.remote.boundary import inside, real_path, resolved
from passerelle.storage.remote.changing.filling import copied_mode, copy_times, fill
from passerelle.storage.remote.changing.removal import Removal, remove
from passerelle.storage.remote.changing.renaming import part_name, rename_new, stat_if_exists
from passerelle.storage.remote.opening import open_parent, stat_path
from passerelle.storage.remote.outcome import Call, Failure, NotRegular
from passerelle.storage.remote.registry import BY_ARGUMENT, NOT_FOLLOWED, operation
from passerelle.storage.remote.rows import row_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, NamedTuple

    Columns = Sequence[tuple[str, str]]

    class Entry(NamedTuple):
        """An entry: its name, relative to the open directory `fd`, and its path for messages."""

        name: bytes
        fd: int
        path: bytes
else:
    from collections import namedtuple

    Entry = namedtuple("Entry", ("name", "fd", "path"))


@operation("copy", path=BY_ARGUMENT, target=NOT_FOLLOWED)
def copy(
    call: Call, path: bytes, target: bytes, overwrite: bool, dereference: bool, columns: "Columns"
) -> bytes:
    """Copy a file or a tree to `target`; the attributes of the copy.

    The copy has the same modes and times. With `overwrite` it replaces a file, or is merged into an existing directory.
    """
    _copy(call, path, target, overwrite, dereference)
    return _about(call, target, columns)


@operation("move", path=NOT_FOLLOWED, target=NOT_FOLLOWED)
def move(call: Call, path: bytes, target: bytes, overwrite: bool, columns: "Columns") -> bytes:
    """Rename, or between two filesystems copy and remove; the attributes of the target."""
    st = stat_path(call, path, False)
    _require_apart(path, target, st)
    try:
        with _entry(call, path, "access") as old, _entry(call, target, "rename", "target") as new:
            _rename(old, new, st, overwrite)
        call.advance(1)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise Failure("rename", _failed_path(path, target, error), error.errno or 0) from None
        _copy(call, path, target, overwrite, False, merge=False)
        remove(call, path)
    return _about(call, target, columns)


def _rename(source: "Entry", target: "Entry", st: os.stat_result, overwrite: bool) -> None:
    existing = stat_if_exists(target.name, target.fd)
    if overwrite:
        _require_replaceable(existing, target.path)
    if not overwrite:
        rename_new(source.name, target.name, source.fd, target.fd)
    elif not (existing and os.path.samestat(st, existing)):
        os.rename(source.name, target.name, src_dir_fd=source.fd, dst_dir_fd=target.fd)
    elif resolved(source.path, False) != resolved(target.path, False):
        # Both are names of the same file, and rename(2) would leave both.
        os.unlink(source.name, dir_fd=source.fd)


def _failed_path(path: bytes, target: bytes, error: OSError) -> bytes:
    """The path that an error of rename(2) is about."""
    target_errors = (errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.ENOTDIR, errno.EINVAL)
    return target if error.errno in target_errors else path


def _about(call: Call, target: bytes, columns: "Columns") -> bytes:
    return call.result(json.loads(row_of(call, target, False, columns).decode()))


def _copy(
    call: Call, path: bytes, target: bytes, overwrite: bool, dereference: bool, merge: bool = True
) -> None:
    st = stat_path(call, path, dereference)
    _require_apart(path, target, st)
    if stat.S_ISREG(st.st_mode):
        call.expect(st.st_size)
    with _entry(call, path, "access") as source, _entry(call, target, "create", "target") as new:
        with _as_failure("create", target):
            existing = stat_if_exists(new.name, new.fd)
        if existing and not overwrite:
            raise Failure("create", target, errno.EEXIST)
        _require_replaceable(existing, target)
        if existing and os.path.samestat(existing, st):
            raise Failure("itself", target, errno.EINVAL)
        Copying(call, dereference).put(source, new, st, existing, merge)


@contextmanager
def _entry(call: Call, path: bytes, step: str, field: str = "path") -> "Iterator[Entry]":
    """The entry at `path`, whose directory is open in the block; raises as `open_parent`."""
    with open_parent(call, path, step, field) as (name, fd):
        yield Entry(name, fd, path)


def _require_replaceable(existing: "os.stat_result | None", target: bytes) -> None:
    """Raise NotRegular when the target is neither a file nor a directory nor a link."""
    if existing and stat.S_IFMT(existing.st_mode) not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
        raise NotRegular("create", target, existing.st_mode)


def _require_apart(path: bytes, target: bytes, st: os.stat_result) -> None:
    """Raise Failure when a directory would be copied or moved into itself."""
    real, root = resolved(target, False), real_path(path)
    if stat.S_ISDIR(st.st_mode) and real != root and inside(real, root):
        raise Failure("itself", target, errno.EINVAL)


class Copying:
    """Copies entries. Of links it copies the target if `dereference`, else the link."""

    def __init__(self, call: Call, dereference: bool) -> None:
        self._call = call
        self._dereference = dereference
        self._above: list[tuple[int, int]] = []

    def put(
        self,
        source: "Entry",
        target: "Entry",
        st: os.stat_result,
        existing: "os.stat_result | None",
        merge: bool,
    ) -> None:
        """Copy `source` to `target`, and replace what is `existing` there. If `merge`, a directory is merged into an
        existing one."""
        if existing and merge and stat.S_ISDIR(st.st_mode) and stat.S_ISDIR(existing.st_mode):
            self._merge(source, target, st)
            return
        part = target._replace(name=part_name(target.name))
        try:
            self._make(source, part, st)
            with _as_failure("create", target.path):
                if existing:
                    os.rename(part.name, target.name, src_dir_fd=part.fd, dst_dir_fd=part.fd)
                else:
                    rename_new(part.name, target.name, part.fd, part.fd)
        except BaseException:
            Removal(Call(self._call.boundary), force=True).remove(part.name, part.path, part.fd)
            raise

    def _merge(self, source: "Entry", target: "Entry", st: os.stat_result) -> None:
        with self._open_tree(source, st) as (fd, names):
            with _as_failure("open", target.path):
                into = _open_directory(target)
            try:
                for name in names:
                    source_entry, target_entry = (
                        _below(source, fd, name),
                        _below(target, into, name),
                    )
                    with _as_failure("create", target_entry.path):
                        existing = stat_if_exists(target_entry.name, into)
                    self.put(
                        source_entry, target_entry, self._stat(source_entry), existing, merge=True
                    )
            finally:
                os.close(into)

    def _make(self, source: "Entry", target: "Entry", st: os.stat_result) -> None:
        """Copy to the new name `target.name`. For messages, `target.path` is the final path."""
        kind = stat.S_IFMT(st.st_mode)
        if kind == stat.S_IFDIR:
            self._make_directory(source, target, st)
        elif kind == stat.S_IFREG:
            self._make_file(source, target)
        elif kind == stat.S_IFLNK:
            with _as_failure("create", target.path):
                link_target = os.readlink(source.name, dir_fd=source.fd)
                os.symlink(link_target, target.name, dir_fd=target.fd)
                copy_times(target.name, st, target.fd)
        elif kind == stat.S_IFIFO:
            with _as_failure("create", target.path):
                os.mkfifo(target.name, stat.S_IMODE(st.st_mode) & 0o777, dir_fd=target.fd)
                copy_times(target.name, st, target.fd)
        else:
            raise NotRegular("read", source.path, st.st_mode)
        self._call.advance(1)

    def _make_file(self, source: "Entry", target: "Entry") -> None:
        follow = 0 if self._dereference else os.O_NOFOLLOW
        with _as_failure("open", source.path):
            fd = os.open(source.name, os.O_RDONLY | os.O_NONBLOCK | follow, dir_fd=source.fd)
        try:
            self._call.boundary.require_open(fd, source.path)
            with _as_failure("create", target.path):
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
                new = os.open(target.name, flags, stat.S_IRUSR | stat.S_IWUSR, dir_fd=target.fd)
            try:
                with _as_failure("write", target.path):
                    fill(self._call, fd, new)
            finally:
                os.close(new)
        finally:
            os.close(fd)

    def _make_directory(self, source: "Entry", target: "Entry", st: os.stat_result) -> None:
        with _as_failure("create", target.path):
            os.mkdir(target.name, stat.S_IRWXU, dir_fd=target.fd)
            into = _open_directory(target)
        try:
            with self._open_tree(source, st) as (fd, names):
                for name in names:
                    source_entry = _below(source, fd, name)
                    self._make(source_entry, _below(target, into, name), self._stat(source_entry))
            with _as_failure("create", target.path):
                os.fchmod(into, copied_mode(st, os.fstat(into)))
                copy_times(into, st)
        finally:
            os.close(into)

    @contextmanager
    def _open_tree(
        self, source: "Entry", st: os.stat_result
    ) -> "Iterator[tuple[int, Sequence[bytes]]]":
        """Open a directory for the block: its descriptor, and the names of its entries."""
        identity = (st.st_dev, st.st_ino)
        if identity in self._above:
            raise Failure("access", source.path, errno.ELOOP)  # a link to a directory above
        with _as_failure("open", source.path):
            fd = _open_directory(source, 0 if self._dereference else os.O_NOFOLLOW)
        self._above.append(identity)
        try:
            self._call.boundary.require_open(fd, source.path)
            with _as_failure("open", source.path):
                names = [os.fsencode(name) for name in os.listdir(fd)]
            yield fd, names
        finally:
            self._above.pop()
            os.close(fd)

    def _stat(self, entry: "Entry") -> os.stat_result:
        with _as_failure("access", entry.path):
            st = os.stat(entry.name, dir_fd=entry.fd, follow_symlinks=False)
            if self._dereference and stat.S_ISLNK(st.st_mode):
                self._call.boundary.require(entry.path)
                st = os.stat(entry.name, dir_fd=entry.fd)
        return st


def _open_directory(entry: "Entry", flags: int = os.O_NOFOLLOW) -> int:
    return os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | flags, dir_fd=entry.fd)


def _below(directory: "Entry", fd: int, name: bytes) -> "Entry":
    return Entry(name, fd, os.path.join(directory.path, name))


@contextmanager
def _as_failure(step: str, path: bytes) -> "Iterator[Any]":
    """Raise an OSError of the block as the Failure of this step on this path."""
    try:
        yield
    except OSError as error:
        raise Failure(step, path, error.errno or 0) from None

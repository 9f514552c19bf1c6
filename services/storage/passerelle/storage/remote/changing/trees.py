"""Files and trees, copied and moved.

What is copied is put together under a hidden name beside its target, and renamed when it is whole. Directories are
held open and their entries named relative to them: nobody can swap one for a link meanwhile, and no path is too long.
"""

import errno
import json
import os
import stat
from contextlib import contextmanager

from passerelle.storage.remote.boundary import inside, real_path, resolved
from passerelle.storage.remote.changing.filling import fill, keep_times, kept_mode
from passerelle.storage.remote.changing.removal import Removal, remove
from passerelle.storage.remote.changing.renaming import exists, part_name, rename_new
from passerelle.storage.remote.opening import look, named
from passerelle.storage.remote.outcome import Call, Failure, NotRegular
from passerelle.storage.remote.rows import row_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, NamedTuple

    Columns = Sequence[tuple[str, str]]

    class Entry(NamedTuple):
        """An entry: its name, relative to the directory open as `fd`, and its whole path for messages."""

        name: bytes
        fd: int
        path: bytes
else:
    from collections import namedtuple

    Entry = namedtuple("Entry", ("name", "fd", "path"))


def copy(
    call: Call, path: bytes, target: bytes, overwrite: bool, dereference: bool, columns: "Columns"
) -> bytes:
    """Copy a file or a tree to `target`; what is known about the copy.

    Modes and times are kept. With `overwrite` a file takes the place of a file, and a directory is copied into a
    directory that is there.
    """
    _copy(call, path, target, overwrite, dereference)
    return _about(call, target, columns)


def move(call: Call, path: bytes, target: bytes, overwrite: bool, columns: "Columns") -> bytes:
    """Rename, or between two filesystems copy and remove; what is known about it then."""
    st = look(call, path, False)
    _require_apart(path, target, st)
    try:
        with (
            named(call, path, "access") as (old, old_fd),
            named(call, target, "rename", "target") as (new, new_fd),
        ):
            _rename(Entry(old, old_fd, path), Entry(new, new_fd, target), st, overwrite)
        call.advance(1)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise Failure("rename", _to_blame(path, target, error), error.errno or 0) from None
        _copy(call, path, target, overwrite, False, merge=False)
        remove(call, path)
    return _about(call, target, columns)


def _rename(source: "Entry", target: "Entry", st: os.stat_result, overwrite: bool) -> None:
    there = exists(target.name, target.fd)
    if overwrite:
        _require_replaceable(there, target.path)
    if not overwrite:
        rename_new(source.name, target.name, source.fd, target.fd)
    elif not (there and os.path.samestat(st, there)):
        os.rename(source.name, target.name, src_dir_fd=source.fd, dst_dir_fd=target.fd)
    elif resolved(source.path, False) != resolved(target.path, False):
        # the other name of the same file: rename(2) would leave both
        os.unlink(source.name, dir_fd=source.fd)


def _to_blame(path: bytes, target: bytes, error: OSError) -> bytes:
    blamed = (errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.ENOTDIR, errno.EINVAL)
    return target if error.errno in blamed else path


def _about(call: Call, target: bytes, columns: "Columns") -> bytes:
    return call.result(json.loads(row_of(call, target, False, columns).decode()))


def _copy(
    call: Call, path: bytes, target: bytes, overwrite: bool, dereference: bool, merge: bool = True
) -> None:
    st = look(call, path, dereference)
    _require_apart(path, target, st)
    if stat.S_ISREG(st.st_mode):
        call.expect(st.st_size)
    with (
        named(call, path, "access") as (name, fd),
        named(call, target, "create", "target") as (new, new_fd),
    ):
        with _told("create", target):
            there = exists(new, new_fd)
        if there and not overwrite:
            raise Failure("create", target, errno.EEXIST)
        _require_replaceable(there, target)
        if there and os.path.samestat(there, st):
            raise Failure("itself", target, errno.EINVAL)
        source, goal = Entry(name, fd, path), Entry(new, new_fd, target)
        Copying(call, dereference).put(source, goal, st, there, merge)


def _require_replaceable(there: "os.stat_result | None", target: bytes) -> None:
    """Refuse to take the place of what is neither a file nor a directory nor a link."""
    if there and stat.S_IFMT(there.st_mode) not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
        raise NotRegular("create", target, there.st_mode)


def _require_apart(path: bytes, target: bytes, st: os.stat_result) -> None:
    """Refuse to put a directory into itself."""
    real, root = resolved(target, False), real_path(path)
    if stat.S_ISDIR(st.st_mode) and real != root and inside(real, root):
        raise Failure("itself", target, errno.EINVAL)


class Copying:
    """Copies entries; with `dereference` what links point to, else the links."""

    def __init__(self, call: Call, dereference: bool) -> None:
        self._call = call
        self._dereference = dereference
        self._above: list[tuple[int, int]] = []

    def put(
        self,
        source: "Entry",
        target: "Entry",
        st: os.stat_result,
        there: "os.stat_result | None",
        merge: bool,
    ) -> None:
        """Copy to where `there` is what is to be replaced; `merge` says what becomes of a directory in a directory."""
        if there and merge and stat.S_ISDIR(st.st_mode) and stat.S_ISDIR(there.st_mode):
            self._merge(source, target, st)
            return
        part = target._replace(name=part_name(target.name))
        try:
            self._make(source, part, st)
            with _told("create", target.path):
                if there:
                    os.rename(part.name, target.name, src_dir_fd=part.fd, dst_dir_fd=part.fd)
                else:
                    rename_new(part.name, target.name, part.fd, part.fd)
        except BaseException:
            Removal(Call(self._call.boundary), force=True).remove(part.name, part.path, part.fd)
            raise

    def _merge(self, source: "Entry", target: "Entry", st: os.stat_result) -> None:
        with self._opened(source, st) as (fd, names):
            with _told("open", target.path):
                into = _open_directory(target)
            try:
                for name in names:
                    one, other = _below(source, fd, name), _below(target, into, name)
                    with _told("create", other.path):
                        there = exists(other.name, into)
                    self.put(one, other, self._look(one), there, merge=True)
            finally:
                os.close(into)

    def _make(self, source: "Entry", target: "Entry", st: os.stat_result) -> None:
        """A copy under a name that is not taken; `target.path` names it as it will be called."""
        kind = stat.S_IFMT(st.st_mode)
        if kind == stat.S_IFDIR:
            self._make_directory(source, target, st)
        elif kind == stat.S_IFREG:
            self._make_file(source, target)
        elif kind == stat.S_IFLNK:
            with _told("create", target.path):
                words = os.readlink(source.name, dir_fd=source.fd)
                os.symlink(words, target.name, dir_fd=target.fd)
                keep_times(target.name, st, target.fd)
        elif kind == stat.S_IFIFO:
            with _told("create", target.path):
                os.mkfifo(target.name, stat.S_IMODE(st.st_mode) & 0o777, dir_fd=target.fd)
                keep_times(target.name, st, target.fd)
        else:
            raise NotRegular("read", source.path, st.st_mode)
        self._call.advance(1)

    def _make_file(self, source: "Entry", target: "Entry") -> None:
        follow = 0 if self._dereference else os.O_NOFOLLOW
        with _told("open", source.path):
            fd = os.open(source.name, os.O_RDONLY | os.O_NONBLOCK | follow, dir_fd=source.fd)
        try:
            self._call.boundary.require_open(fd, source.path)
            with _told("create", target.path):
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
                new = os.open(target.name, flags, stat.S_IRUSR | stat.S_IWUSR, dir_fd=target.fd)
            try:
                with _told("write", target.path):
                    fill(self._call, fd, new)
            finally:
                os.close(new)
        finally:
            os.close(fd)

    def _make_directory(self, source: "Entry", target: "Entry", st: os.stat_result) -> None:
        with _told("create", target.path):
            os.mkdir(target.name, stat.S_IRWXU, dir_fd=target.fd)
            into = _open_directory(target)
        try:
            with self._opened(source, st) as (fd, names):
                for name in names:
                    one = _below(source, fd, name)
                    self._make(one, _below(target, into, name), self._look(one))
            with _told("create", target.path):
                os.fchmod(into, kept_mode(st, os.fstat(into)))
                keep_times(into, st)
        finally:
            os.close(into)

    @contextmanager
    def _opened(
        self, source: "Entry", st: os.stat_result
    ) -> "Iterator[tuple[int, Sequence[bytes]]]":
        """An open directory and the names in it."""
        identity = (st.st_dev, st.st_ino)
        if identity in self._above:
            raise Failure("access", source.path, errno.ELOOP)  # a link that leads back up
        with _told("open", source.path):
            fd = _open_directory(source, 0 if self._dereference else os.O_NOFOLLOW)
        self._above.append(identity)
        try:
            self._call.boundary.require_open(fd, source.path)
            with _told("open", source.path):
                names = [os.fsencode(name) for name in os.listdir(fd)]
            yield fd, names
        finally:
            self._above.pop()
            os.close(fd)

    def _look(self, entry: "Entry") -> os.stat_result:
        with _told("access", entry.path):
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
def _told(step: str, path: bytes) -> "Iterator[Any]":
    """Tell an OSError of the block as the Failure of this step on this path."""
    try:
        yield
    except OSError as error:
        raise Failure(step, path, error.errno or 0) from None

"""Files are opened before they are examined or read, so that a path which changes meanwhile has no effect.

They are first opened with O_PATH. That does not wait for the other end of a pipe, does not start a device, and needs no
right to read. The same file is then opened for reading through /proc. Without /proc, its path is opened a second time
and must lead to the same file.
"""

import errno
import os
import stat
from contextlib import contextmanager

from passerelle.storage.remote.outcome import Call, Failure, NotRegular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

READING = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY


def open_path(
    call: Call,
    path: bytes,
    step: str = "open",
    flags: int = 0,
    name: "bytes | None" = None,
    parent: "int | None" = None,
) -> int:
    """Open `path`, or `name` in the open directory `parent`, with O_PATH; a descriptor. Raises Failure, Outside."""
    return _open_inside(call, path, step, os.O_PATH | flags, name, parent)


def _open_inside(
    call: Call,
    path: bytes,
    step: str,
    flags: int,
    name: "bytes | None",
    parent: "int | None",
) -> int:
    """Open with these flags; a descriptor. Raises Failure with `step`, and Outside."""
    try:
        fd = os.open(path if name is None else name, flags, dir_fd=parent)
    except OSError as error:
        raise Failure(step, path, error.errno or 0) from None
    try:
        call.boundary.require_open(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


@contextmanager
def open_parent(
    call: Call, path: bytes, step: str, field: str = "path"
) -> "Iterator[tuple[bytes, int]]":
    """The last component of `path`, and a descriptor of the directory that holds it.

    System calls that take both act in that directory, even if `path` leads elsewhere by then. `field` is the argument
    with the path. Raises Failure with `step` when there is no such directory, and Outside.
    """
    directory, name = os.path.split(path)
    try:
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise Failure(step, path, error.errno or 0) from None
    try:
        call.boundary.require_open(fd, path, name, field)
        yield name or b".", fd
    finally:
        os.close(fd)


def stat_path(call: Call, path: bytes, dereference: bool) -> os.stat_result:
    """stat(2) of the path. A link at its end is followed if `dereference`."""
    return stat_with_target(call, path, dereference)[0]


def stat_with_target(
    call: Call,
    path: bytes,
    dereference: bool,
    name: "bytes | None" = None,
    parent: "int | None" = None,
) -> "tuple[os.stat_result, bytes | None]":
    """stat(2) of the path, or of `name` in `parent`; and the target of the link, None for any other file."""
    fd = open_path(call, path, "access", 0 if dereference else os.O_NOFOLLOW, name, parent)
    try:
        st = os.fstat(fd)
        return st, os.readlink(b"", dir_fd=fd) if stat.S_ISLNK(st.st_mode) else None
    finally:
        os.close(fd)


def open_regular(call: Call, path: bytes) -> "tuple[int, os.stat_result]":
    """Open a regular file for reading: a descriptor, and stat(2) of the file. Raises Failure, NotRegular, Outside."""
    path_fd = open_path(call, path)
    try:
        st = os.fstat(path_fd)
        if not stat.S_ISREG(st.st_mode):
            raise NotRegular("read", path, st.st_mode)
        return _reopen(path_fd, st, path), st
    finally:
        os.close(path_fd)


def _reopen(path_fd: int, st: os.stat_result, path: bytes) -> int:
    """Open for reading what is open as `path_fd`."""
    try:
        try:
            return os.open(b"/proc/self/fd/%d" % path_fd, READING)
        except FileNotFoundError:
            fd = os.open(path, READING)
    except OSError as error:
        raise Failure("open", path, error.errno or 0) from None
    if os.path.samestat(os.fstat(fd), st):
        return fd
    os.close(fd)
    raise Failure("open", path, errno.ENOENT)


def open_directory(
    call: Call,
    path: bytes,
    name: "bytes | None" = None,
    parent: "int | None" = None,
) -> int:
    """Open a directory for reading: `path`, or `name` in the open directory `parent`. Raises Failure, Outside."""
    return _open_inside(call, path, "open", os.O_RDONLY | os.O_DIRECTORY, name, parent)


def scan_directory(fd: int, path: bytes) -> "Any":
    """An iterator over the open directory `fd`, which the caller closes. Of its entries only `name` is reliable."""
    try:
        return os.scandir(b"/proc/self/fd/%d" % fd)  # Python 3.6 does not take a descriptor
    except FileNotFoundError:
        return os.scandir(path)

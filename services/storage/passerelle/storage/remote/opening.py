"""What is looked at or read is opened first: an open file stays what it is, whatever its path leads to meanwhile.

Opened as a mere place (O_PATH), a pipe is not waited for, a device not woken, and no right to read is needed. Linux'
/proc then opens that very file; where there is no /proc, the path is opened once more, and must lead to the same file.
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


def opened(
    call: Call,
    path: bytes,
    step: str = "open",
    flags: int = 0,
    name: "bytes | None" = None,
    parent: "int | None" = None,
) -> int:
    """The place that `path` leads to, or `name` in the directory open as `parent`; raises Failure, Outside."""
    return _inside(call, path, step, os.O_PATH | flags, name, parent)


def _inside(
    call: Call,
    path: bytes,
    step: str,
    flags: int,
    name: "bytes | None",
    parent: "int | None",
) -> int:
    """What was opened with these flags; it has been closed again when it is Outside."""
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
def named(call: Call, path: bytes, step: str, field: str = "path") -> "Iterator[tuple[bytes, int]]":
    """What `path`, without following it, names: a name, and the directory with it, open; `field` gave the path.

    What is done by both is done in that very directory. Raises Failure when there is none, Outside.
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


def look(call: Call, path: bytes, dereference: bool) -> os.stat_result:
    """stat(2) of the path; `dereference` follows a final link."""
    return looked_at(call, path, dereference)[0]


def looked_at(
    call: Call,
    path: bytes,
    dereference: bool,
    name: "bytes | None" = None,
    parent: "int | None" = None,
) -> "tuple[os.stat_result, bytes | None]":
    """stat(2) of the path, or of `name` in `parent`, and where it points if it is a link."""
    fd = opened(call, path, "access", 0 if dereference else os.O_NOFOLLOW, name, parent)
    try:
        st = os.fstat(fd)
        return st, os.readlink(b"", dir_fd=fd) if stat.S_ISLNK(st.st_mode) else None
    finally:
        os.close(fd)


def open_regular(call: Call, path: bytes) -> "tuple[int, os.stat_result]":
    """A regular file open for reading, and stat(2) of it."""
    place = opened(call, path)
    try:
        st = os.fstat(place)
        if not stat.S_ISREG(st.st_mode):
            raise NotRegular("read", path, st.st_mode)
        return _readable(place, st, path), st
    finally:
        os.close(place)


def _readable(place: int, st: os.stat_result, path: bytes) -> int:
    try:
        try:
            return os.open(b"/proc/self/fd/%d" % place, READING)
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
    """A directory open for reading: `path`, or `name` in the directory open as `parent`."""
    return _inside(call, path, "open", os.O_RDONLY | os.O_DIRECTORY, name, parent)


def entries_of(fd: int, path: bytes) -> "Any":
    """An iterator over the directory open as `fd`, to be closed; only the names of its entries can be relied on."""
    try:
        return os.scandir(b"/proc/self/fd/%d" % fd)  # Python 3.6 does not take a descriptor
    except FileNotFoundError:
        return os.scandir(path)

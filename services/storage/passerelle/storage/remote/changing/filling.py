"""How a new file gets another one's content, mode and times."""

import errno
import os
import stat

from passerelle.storage.remote.outcome import Call, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 1 << 20
_NOT_HERE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF)


def fill(call: Call, source: int, target: int) -> None:
    """Copy an open regular file, with its holes, into an empty one; raises OSError, or Failure when it is no file."""
    st = os.fstat(source)
    if not stat.S_ISREG(st.st_mode):
        raise Failure("read", b"", errno.EINVAL)
    for start, end in _filled(source, st.st_size):
        while start < end:
            moved = _moved(source, target, start, min(BLOCK, end - start))
            if not moved:
                break  # shorter than it was
            start += moved
            call.advance(size=moved)
    os.ftruncate(target, st.st_size)
    os.fchmod(target, kept_mode(st, os.fstat(target)))
    keep_times(target, st)


def _filled(fd: int, size: int) -> "Iterator[tuple[int, int]]":
    """Where a file's data begin and end, between its holes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        except OSError as error:
            if (
                error.errno != errno.ENXIO
            ):  # a filesystem that cannot tell; else there is only a hole left
                yield end, size
            return
        yield start, end


def _moved(source: int, target: int, position: int, count: int) -> int:
    """How many bytes were copied: on the server where the filesystem can do that."""
    if hasattr(os, "copy_file_range"):  # Python 3.8
        try:
            return os.copy_file_range(source, target, count, position, position)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
    return os.pwrite(target, os.pread(source, count, position), position)


def kept_mode(st: os.stat_result, new: os.stat_result) -> int:
    """The permission bits for a copy; set-id bits only when the copy has the same owner and group."""
    same = (st.st_uid, st.st_gid) == (new.st_uid, new.st_gid)
    return stat.S_IMODE(st.st_mode) if same else stat.S_IMODE(st.st_mode) & 0o1777


def keep_times(name: "int | bytes", st: os.stat_result, fd: "int | None" = None) -> None:
    """Give the file the times of another one."""
    times = (st.st_atime_ns, st.st_mtime_ns)
    if isinstance(name, int):
        os.utime(name, ns=times)
    else:
        os.utime(name, ns=times, dir_fd=fd, follow_symlinks=False)

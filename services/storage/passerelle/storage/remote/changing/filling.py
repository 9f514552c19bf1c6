"""Copying a file's content, mode and times to a new file."""

import errno
import os
import stat

from passerelle.storage.remote.outcome import Call, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 1 << 20
_UNSUPPORTED = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF)


def fill(call: Call, source: int, target: int) -> None:
    """Copy an open regular file, with its holes, to the open empty file `target`. Raises OSError; Failure when the
    source is not a regular file."""
    st = os.fstat(source)
    if not stat.S_ISREG(st.st_mode):
        raise Failure("read", b"", errno.EINVAL)
    for start, end in _data_ranges(source, st.st_size):
        while start < end:
            copied = _copy_block(source, target, start, min(BLOCK, end - start))
            if not copied:
                break  # the source became shorter
            start += copied
            call.advance(size=copied)
    os.ftruncate(target, st.st_size)
    os.fchmod(target, copied_mode(st, os.fstat(target)))
    copy_times(target, st)


def _data_ranges(fd: int, size: int) -> "Iterator[tuple[int, int]]":
    """The ranges of a file that are not holes: start and end of each."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        except OSError as error:
            # ENXIO: the rest of the file is a hole. Otherwise the filesystem does not report holes.
            if error.errno != errno.ENXIO:
                yield end, size
            return
        yield start, end


def _copy_block(source: int, target: int, position: int, count: int) -> int:
    """Copy up to `count` bytes, inside the filesystem's server where it can do that; how many bytes were copied."""
    if hasattr(os, "copy_file_range"):  # Python 3.8
        try:
            return os.copy_file_range(source, target, count, position, position)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
    return os.pwrite(target, os.pread(source, count, position), position)


def copied_mode(st: os.stat_result, new: os.stat_result) -> int:
    """The permission bits for a copy. It gets set-id bits only when it has the same owner and group."""
    same = (st.st_uid, st.st_gid) == (new.st_uid, new.st_gid)
    return stat.S_IMODE(st.st_mode) if same else stat.S_IMODE(st.st_mode) & 0o1777


def copy_times(name: "int | bytes", st: os.stat_result, fd: "int | None" = None) -> None:
    """Set the access and modification times of a file to those in `st`. A name is relative to the directory `fd`."""
    times = (st.st_atime_ns, st.st_mtime_ns)
    if isinstance(name, int):
        os.utime(name, ns=times)
    else:
        os.utime(name, ns=times, dir_fd=fd, follow_symlinks=False)

"""Names that are taken without ever taking them from another file, and names for what is not whole yet."""

import binascii
import errno
import os
import stat

from passerelle.storage.remote.changing.placing import SUFFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAME_MAX = 255  # bytes
NOREPLACE = 1  # linux/fs.h RENAME_NOREPLACE
UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EMLINK)


def part_name(name: bytes) -> bytes:
    """A new hidden name to stand beside `name` until what it is for is whole."""
    ending = b"." + binascii.hexlify(os.urandom(6)) + SUFFIX
    room = NAME_MAX - 1 - len(ending)
    return b"." + name[:room] + ending


def _library() -> "Any":
    try:
        import ctypes

        return ctypes.CDLL(None, use_errno=True).renameat2  # glibc 2.28 and newer
    except (ImportError, OSError, AttributeError):
        return None


def rename_new(source: bytes, target: bytes, source_fd: int, fd: int) -> None:
    """rename(2) that refuses a `target` that is there; names are relative to the directories open as `source_fd` and
    `fd`.

    Where neither the system nor the filesystem can do that in one step, there is a moment between looking and renaming.
    """
    number = _rename_at_once(source, target, source_fd, fd)
    if not number:
        return
    if number not in UNSUPPORTED:
        raise OSError(number, os.strerror(number))
    if not _is_directory(source, source_fd) and _linked(source, target, source_fd, fd):
        os.unlink(source, dir_fd=source_fd)
        return
    if exists(target, fd):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=fd)


def _rename_at_once(source: bytes, target: bytes, source_fd: int, fd: int) -> int:
    """The errno of renameat2(2), or 0."""
    renameat2 = _library()
    if renameat2 is None:
        return errno.ENOSYS
    import ctypes

    if renameat2(source_fd, source, fd, target, NOREPLACE) == 0:
        return 0
    return ctypes.get_errno()


def _linked(source: bytes, target: bytes, source_fd: int, fd: int) -> bool:
    """Whether link(2), which refuses a name that is there, can be had."""
    try:
        os.link(source, target, src_dir_fd=source_fd, dst_dir_fd=fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return False
    return True


def _is_directory(name: bytes, fd: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)


def exists(name: bytes, fd: "int | None" = None) -> "os.stat_result | None":
    """What is there under a name, or None; a link is taken as itself."""
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None

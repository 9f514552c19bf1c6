"""Renaming without replacing another file, and hidden names for incomplete files."""

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
    """A new hidden name for an incomplete copy of `name` in the same directory."""
    ending = b"." + binascii.hexlify(os.urandom(6)) + SUFFIX
    kept = name[: NAME_MAX - 1 - len(ending)]
    if kept != name:
        kept = kept.decode(errors="ignore").encode()  # no incomplete character
    return b"." + kept + ending


def _library() -> "Any":
    try:
        import ctypes

        return ctypes.CDLL(None, use_errno=True).renameat2  # glibc 2.28 and newer
    except (ImportError, OSError, AttributeError):
        return None


def rename_new(source: bytes, target: bytes, source_fd: int, fd: int) -> None:
    """rename(2), but raises FileExistsError when `target` exists. Names are relative to the open directories
    `source_fd` and `fd`.

    Where neither the system nor the filesystem can do that in one step, `target` could be created between the check
    and the renaming.
    """
    number = _rename_at_once(source, target, source_fd, fd)
    if not number:
        return
    if number not in UNSUPPORTED:
        raise OSError(number, os.strerror(number))
    if not _is_directory(source, source_fd) and _link(source, target, source_fd, fd):
        os.unlink(source, dir_fd=source_fd)
        return
    if stat_if_exists(target, fd):
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


def _link(source: bytes, target: bytes, source_fd: int, fd: int) -> bool:
    """Make a hard link with link(2), which never replaces a file; False where links are not supported."""
    try:
        os.link(source, target, src_dir_fd=source_fd, dst_dir_fd=fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return False
    return True


def _is_directory(name: bytes, fd: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)


def stat_if_exists(name: bytes, fd: "int | None" = None) -> "os.stat_result | None":
    """stat(2) of a name without following links; None when it does not exist."""
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None

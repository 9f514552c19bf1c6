"""Parts of uploads: their size, and writing them where there is no SFTP. Only their owner can read them."""

import fcntl
import os
from contextlib import suppress

from passerelle.storage.remote.locking import lock
from passerelle.storage.remote.outcome import Call, Failure, raw
from passerelle.storage.remote.registry import operation


@operation("make_part")
def make_part(call: Call, part: str) -> bytes:
    """Make an empty file, which must not exist."""
    os.close(_open(part, os.O_CREAT | os.O_EXCL))
    return b""


@operation("settled_size")
def settled_size(call: Call, part: str) -> bytes:
    """How many bytes have arrived, in digits, when no receiver writes to the file any more."""
    try:
        fd = os.open(raw(part), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError as error:
        raise Failure("access", raw(part), error.errno or 0) from None
    try:
        lock(fd, fcntl.LOCK_SH)
        return b"%d" % os.fstat(fd).st_size
    finally:
        os.close(fd)


@operation("write_part")
def write_part(call: Call, part: str, offset: int, content: bytes = b"") -> bytes:
    """Write all of `content` at `offset`."""
    fd = _open(part)
    remaining = memoryview(content)
    try:
        while remaining:
            call.check()
            written = os.pwrite(fd, remaining, offset)
            remaining, offset = remaining[written:], offset + written
    except OSError as error:
        raise Failure("write", raw(part), error.errno or 0) from None
    finally:
        os.close(fd)
    return b""


@operation("truncate_part")
def truncate_part(call: Call, part: str, size: int) -> bytes:
    """Truncate the file to `size` bytes."""
    fd = _open(part)
    try:
        os.ftruncate(fd, size)
    except OSError as error:
        raise Failure("write", raw(part), error.errno or 0) from None
    finally:
        os.close(fd)
    return b""


@operation("remove_part")
def remove_part(call: Call, part: str) -> bytes:
    """Remove the file, if it exists."""
    try:
        with suppress(FileNotFoundError):
            os.unlink(raw(part))
    except OSError as error:
        raise Failure("unlink", raw(part), error.errno or 0) from None
    return b""


def _open(part: str, flags: int = 0) -> int:
    try:
        return os.open(raw(part), os.O_WRONLY | os.O_NOFOLLOW | flags, 0o600)
    except OSError as error:
        raise Failure("open", raw(part), error.errno or 0) from None

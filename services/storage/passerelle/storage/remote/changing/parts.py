"""Parts of uploads: their size, and writing them where there is no SFTP. Only their owner can read them."""

import fcntl
import os
from contextlib import contextmanager, suppress

from passerelle.storage.remote.locking import lock
from passerelle.storage.remote.outcome import Call, Failure, raw
from passerelle.storage.remote.registry import operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


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
    remaining = memoryview(content)
    with _writing(part) as fd:
        while remaining:
            call.check()
            written = os.pwrite(fd, remaining, offset)
            remaining, offset = remaining[written:], offset + written
    return b""


@operation("truncate_part")
def truncate_part(call: Call, part: str, size: int) -> bytes:
    """Truncate the file to `size` bytes."""
    with _writing(part) as fd:
        os.ftruncate(fd, size)
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


@contextmanager
def _writing(part: str) -> "Iterator[int]":
    """A descriptor of the open file inside the block, where an OSError becomes a Failure to write."""
    fd = _open(part)
    try:
        yield fd
    except OSError as error:
        raise Failure("write", raw(part), error.errno or 0) from None
    finally:
        os.close(fd)


def _open(part: str, flags: int = 0) -> int:
    try:
        return os.open(raw(part), os.O_WRONLY | os.O_NOFOLLOW | flags, 0o600)
    except OSError as error:
        raise Failure("open", raw(part), error.errno or 0) from None

"""What arrives in a file that only its user can read, piece by piece: used where there is no SFTP."""

import base64
import os
from contextlib import suppress

from passerelle.storage.remote.outcome import Call, Failure, raw


def make_part(call: Call, part: str) -> bytes:
    """Make the empty file, which must not be there."""
    os.close(_opened(part, os.O_CREAT | os.O_EXCL))
    return b""


def write_part(call: Call, part: str, offset: int, content: str) -> bytes:
    """Write base64 `content` at `offset`."""
    fd = _opened(part)
    left = memoryview(base64.b64decode(content))
    try:
        while left:
            call.check()
            written = os.pwrite(fd, left, offset)
            left, offset = left[written:], offset + written
    except OSError as error:
        raise Failure("write", raw(part), error.errno or 0) from None
    finally:
        os.close(fd)
    return b""


def cut_part(call: Call, part: str, size: int) -> bytes:
    """Give up what lies behind `size`."""
    fd = _opened(part)
    try:
        os.ftruncate(fd, size)
    except OSError as error:
        raise Failure("write", raw(part), error.errno or 0) from None
    finally:
        os.close(fd)
    return b""


def drop_part(call: Call, part: str) -> bytes:
    """Remove the file, if it is there."""
    try:
        with suppress(FileNotFoundError):
            os.unlink(raw(part))
    except OSError as error:
        raise Failure("unlink", raw(part), error.errno or 0) from None
    return b""


def _opened(part: str, flags: int = 0) -> int:
    try:
        return os.open(raw(part), os.O_WRONLY | os.O_NOFOLLOW | flags, 0o600)
    except OSError as error:
        raise Failure("open", raw(part), error.errno or 0) from None

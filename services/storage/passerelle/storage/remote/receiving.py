"""The receiver: a program that writes the content of a large upload to its part, in order and from an offset on.

At any time, what it has written is the beginning of what was sent, so an upload that breaks off can be resumed at the
part's size. Its input is a line of JSON (`part`, `start`, `offset`), then pieces, each of them after a line with its
size in bytes, and at the end a line `0` and a line with the SHA-256 of everything between `start` and the end. The
receiver writes from `offset` on; what lies between `start` and `offset` has arrived by SFTP.

It answers with MARK, JSON and END: the part's new `size`, or a failure. When its input ends early, it just ends.
"""

import errno
import hashlib
import json
import os
import sys

from passerelle.storage.remote.frames import END, MARK
from passerelle.storage.remote.locking import lock
from passerelle.storage.remote.outcome import Failure, described, raw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

BLOCK = 1 << 20


class Incomplete(Exception):
    """The input has ended too early."""


def receive(source: "BinaryIO", path: bytes, start: int, offset: int) -> int:
    """Write the pieces in `source` to the part `path`; its size then.

    Raises Failure with the step `open` or `write`, `busy` when another writer has changed the part meanwhile, and
    `sha256` when what has arrived is not what was sent; the part is truncated to `start` then. Raises Incomplete.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError as error:
        raise Failure("open", path, error.errno or 0) from None
    try:
        lock(fd)
        return _write_all(source, fd, path, start, offset)
    except OSError as error:
        raise Failure("write", path, error.errno or 0) from None
    finally:
        os.close(fd)


def _write_all(source: "BinaryIO", fd: int, path: bytes, start: int, end: int) -> int:
    if os.fstat(fd).st_size < end:
        raise Failure("busy", path, errno.EBUSY)
    os.ftruncate(fd, end)
    digest = _digest(fd, start, end)
    buffer = memoryview(bytearray(BLOCK))
    left = _number(source)
    while left:
        count = source.readinto(buffer[: min(left, BLOCK)])  # type: ignore[attr-defined]  # it is a buffered reader
        if os.fstat(fd).st_size != end:  # written elsewhere, it would leave a hole
            raise Failure("busy", path, errno.EBUSY)
        _write(fd, buffer[:count], end)
        digest.update(buffer[:count])
        end += count
        left -= count
        if not count:
            raise Incomplete
        if not left:
            left = _number(source)
    if digest.hexdigest() != _line(source):
        os.ftruncate(fd, start)
        raise Failure("sha256", path, errno.EIO)
    return end


def _digest(fd: int, start: int, end: int) -> "hashlib._Hash":
    """The SHA-256 of what the file has between two offsets."""
    digest = hashlib.sha256()
    while start < end:
        block = os.pread(fd, min(BLOCK, end - start), start)
        digest.update(block)
        start += len(block)
    return digest


def _write(fd: int, data: memoryview, position: int) -> None:
    while data:
        written = os.pwrite(fd, data, position)
        data, position = data[written:], position + written


def _number(source: "BinaryIO") -> int:
    return int(_line(source))


def _line(source: "BinaryIO") -> str:
    line = source.readline()
    if not line.endswith(b"\n"):
        raise Incomplete
    return line.decode().strip()


def main() -> None:
    """Receive what the standard input holds."""
    source = sys.stdin.buffer
    try:
        request = json.loads(_line(source))
        size = receive(source, raw(request["part"]), request["start"], request["offset"])
        answer = json.dumps({"size": size}).encode()
    except Incomplete:
        sys.exit(1)
    except Failure as error:
        answer = described(error)
    os.write(sys.stdout.fileno(), MARK + answer + END)


if __name__ == "__main__":
    main()

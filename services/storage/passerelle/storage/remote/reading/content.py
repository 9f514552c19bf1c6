"""Pieces of files."""

import errno
import os

from passerelle.storage.remote.opening import open_regular
from passerelle.storage.remote.outcome import Call, Failure
from passerelle.storage.remote.rows import row_maker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BLOCK = 1 << 18


def hold_file(call: Call, path: bytes, columns: "Sequence[tuple[str, str]]") -> "Iterator[bytes]":
    """JSON: what is known about a regular file, `file`, and where it can be opened until the call is given up, `at`."""
    fd, st = open_regular(call, path)
    try:
        at = "/proc/%d/fd/%d" % (os.getpid(), fd)  # noqa: UP031  # no words that a caller could have given
        yield b'{"at":"%b","file":%b}' % (at.encode(), row_maker(columns)(path, st, None).encode())
        call.wait()
    finally:
        os.close(fd)


def _between(call: Call, fd: int, start: int, end: int) -> bytes:
    blocks = []
    while start < end:
        call.check()
        block = os.pread(fd, min(BLOCK, end - start), start)
        if not block:
            break
        blocks.append(block)
        start += len(block)
    return b"".join(blocks)


def read_file(call: Call, path: bytes, offset: int, length: int, limit: "int | None") -> bytes:
    """At most `length` bytes from `offset` on; a file of more than `limit` bytes is refused."""
    fd, st = open_regular(call, path)
    size = st.st_size
    try:
        if limit is not None and size > limit:
            raise Failure("limit", path, errno.EFBIG)
        return _between(call, fd, offset, min(size, offset + length))
    except OSError as error:
        raise Failure("read", path, error.errno or 0) from None
    finally:
        os.close(fd)


def excerpt(
    call: Call, path: bytes, unit: str, count: int, from_end: bool, before: bool, limit: int
) -> bytes:
    """What lies before, or else after, the mark `count` lines or bytes from the file's beginning, or else its end."""
    fd, st = open_regular(call, path)
    size = st.st_size
    try:
        if unit == "bytes":
            mark = max(0, size - count) if from_end else min(size, count)
        elif from_end:
            mark = _lines_from_end(call, fd, size, count)
        else:
            mark = _lines_from_start(call, fd, size, count)
        start, end = (0, mark) if before else (mark, size)
        if end - start > limit:
            raise Failure("limit", path, errno.EFBIG)
        return _between(call, fd, start, end)
    except OSError as error:
        raise Failure("read", path, error.errno or 0) from None
    finally:
        os.close(fd)


def _lines_from_start(call: Call, fd: int, size: int, count: int) -> int:
    """Where line `count` (from 0) begins."""
    position = 0
    while count and position < size:
        call.check()
        block = os.pread(fd, BLOCK, position)
        if not block:
            break
        found = block.count(b"\n")
        if found >= count:
            return position + _after_newline(block, count)
        count -= found
        position += len(block)
    return position


def _lines_from_end(call: Call, fd: int, size: int, count: int) -> int:
    """Where the last `count` lines begin; a last line without its newline is a line."""
    position = size
    if size and os.pread(fd, 1, size - 1) == b"\n":
        count += 1
    while count and position:
        call.check()
        start = max(0, position - BLOCK)
        block = os.pread(fd, position - start, start)
        found = block.count(b"\n")
        if found >= count:
            return start + _after_newline(block, found - count + 1)
        count -= found
        position = start
    return position


def _after_newline(block: bytes, number: int) -> int:
    """Where the text after the `number`th newline (from 1) of `block` begins."""
    position = 0
    for _ in range(number):
        position = block.index(b"\n", position) + 1
    return position

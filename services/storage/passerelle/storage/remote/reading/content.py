"""Reading the content of files."""

import errno
import os

from passerelle.storage.remote.opening import open_regular
from passerelle.storage.remote.outcome import Call, Failure
from passerelle.storage.remote.registry import FOLLOWED, operation
from passerelle.storage.remote.rows import row_maker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BLOCK = 1 << 18


@operation("hold", path=FOLLOWED)
def hold_file(call: Call, path: bytes, columns: "Sequence[tuple[str, str]]") -> "Iterator[bytes]":
    """Keep a regular file open until the call is cancelled. JSON with its attributes, `file`, and a path in /proc at
    which it can be opened meanwhile, `at`."""
    fd, st = open_regular(call, path)
    try:
        at = "/proc/%d/fd/%d" % (os.getpid(), fd)  # noqa: UP031  # numbers only, nothing from the caller
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


@operation("read", path=FOLLOWED)
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


@operation("excerpt", path=FOLLOWED)
def excerpt(
    call: Call, path: bytes, unit: str, count: int, from_end: bool, before: bool, limit: int
) -> bytes:
    """The content before or after a position in the file.

    The position is `count` lines or bytes (`unit`) after the file's beginning or, if `from_end`, before its end. The
    content is what lies before it if `before`, else what follows it. Failure (EFBIG) for more than `limit` bytes.
    """
    fd, st = open_regular(call, path)
    size = st.st_size
    try:
        if unit == "bytes":
            position = max(0, size - count) if from_end else min(size, count)
        elif from_end:
            position = _lines_from_end(call, fd, size, count)
        else:
            position = _lines_from_start(call, fd, size, count)
        start, end = (0, position) if before else (position, size)
        if end - start > limit:
            raise Failure("limit", path, errno.EFBIG)
        return _between(call, fd, start, end)
    except OSError as error:
        raise Failure("read", path, error.errno or 0) from None
    finally:
        os.close(fd)


def _lines_from_start(call: Call, fd: int, size: int, count: int) -> int:
    """The offset of line `count` (from 0)."""
    position = 0
    while count and position < size:
        call.check()
        block = os.pread(fd, BLOCK, position)
        if not block:
            break
        newlines = block.count(b"\n")
        if newlines >= count:
            return position + _after_newline(block, count)
        count -= newlines
        position += len(block)
    return position


def _lines_from_end(call: Call, fd: int, size: int, count: int) -> int:
    """The offset at which the last `count` lines begin. A last line without a newline counts."""
    position = size
    if size and os.pread(fd, 1, size - 1) == b"\n":
        count += 1
    while count and position:
        call.check()
        start = max(0, position - BLOCK)
        block = os.pread(fd, position - start, start)
        newlines = block.count(b"\n")
        if newlines >= count:
            return start + _after_newline(block, newlines - count + 1)
        count -= newlines
        position = start
    return position


def _after_newline(block: bytes, number: int) -> int:
    """The offset in `block` after its newline `number` (from 1)."""
    position = 0
    for _ in range(number):
        position = block.index(b"\n", position) + 1
    return position

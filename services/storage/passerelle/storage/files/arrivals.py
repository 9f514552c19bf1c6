"""Content of any size on its way into a part, in constant memory.

It begins with pipelined SFTP writes whose bytes are counted. When there is much of it, a receiver is started meanwhile,
which takes the rest as one stream: that needs less CPU time than requests and their answers.
"""

import asyncio
import errno
import hashlib
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any, TypeVar, cast

import asyncssh

from passerelle.runtime import background
from passerelle.runtime.errors import ApiError, DeadlineExceeded
from passerelle.storage.access.content import ContentChannel, closed, open_file
from passerelle.storage.access.receiver import Receiver
from passerelle.storage.errors import FileError
from passerelle.storage.files.beginning import timely
from passerelle.storage.files.content import BLOCK

T = TypeVar("T")

_SAFE_BLOCK = 32_768  # what every SFTP server must take
# Less than the 2 MiB that OpenSSH lets one channel send unasked: more would trickle, a packet for each of its replies.
_WINDOW = 7
# Operations run side by side, so that a later one may be done without an earlier one when their service is killed.
_WINDOW_OF_OPERATIONS = 1
_HASHED_AT_ONCE = 1 << 20  # bytes
_LARGE = 8 << 20  # bytes after which a receiver, whose start takes some 50 ms, pays

Window = deque[tuple[asyncio.Task[int], int]]
"""Writes on their way, and where each ends."""


class Arrival:
    """Content that arrives in the part `part` of the file `path`, through one channel.

    `end` is where the next byte belongs: everything before it is known to have been written.
    """

    def __init__(self, channel: ContentChannel, path: str, part: bytes, offset: int = 0) -> None:
        self.end = offset
        self._start = offset
        self._channel = channel
        self._path = path
        self._part = part
        self._digest = _Digest()
        self._window = _WINDOW if channel.holds else _WINDOW_OF_OPERATIONS

    @property
    def sha256(self) -> str:
        """That of what has arrived in this call, in lower-case hexadecimal."""
        return self._digest.sha256.hexdigest()

    async def new(self, chunks: AsyncIterator[bytes]) -> None:
        """Make the part, which only the user can read, and write all chunks to it."""
        await self._take("xb", asyncssh.SFTPAttrs(permissions=0o600), chunks)

    async def go_on(self, chunks: AsyncIterator[bytes]) -> None:
        """Write all chunks to the part from `end` on; what lay behind it is given up."""
        await self._take("r+b", asyncssh.SFTPAttrs(), chunks)

    async def _take(
        self, flags: str, attributes: asyncssh.SFTPAttrs, chunks: AsyncIterator[bytes]
    ) -> None:
        async with AsyncExitStack() as stack:
            start = _Start(stack, self._channel)
            stack.push_async_callback(start.give_up)
            first = _First(chunks)
            await self._into(flags, attributes, first.until(start.ready))
            if not first.all:
                await self._stream(start.receiver(), chunks)

    async def _stream(self, receiver: Receiver, chunks: AsyncIterator[bytes]) -> None:
        """Let a receiver write all chunks from `end` on."""
        receiver.begin(self._part, self._start, self.end)
        try:
            async with asyncio.timeout(self._channel.stall) as patience:
                async for piece in _gathered(timely(chunks, patience, self._channel.stall)):
                    if not await receiver.send(piece):
                        break
                    await self._digest.take(piece)
                await self._digest.finish()
                self.end = await receiver.finish(self._path, self.sha256)
        except TimeoutError:
            raise DeadlineExceeded("No more content arrived in time.") from None

    async def _into(
        self, flags: str, attributes: asyncssh.SFTPAttrs, chunks: AsyncIterator[bytes]
    ) -> None:
        # block_size=0: every write is one request, so that the window is ours
        opening = partial(self._channel.client.open, self._part, flags, attributes, block_size=0)
        file = await open_file(self._channel, self._do("open", opening))
        try:
            if flags != "xb":
                await self._do("write", file.truncate, self.end)
            await self._fill(file, chunks)
        finally:
            await closed(self._channel, file)

    async def _fill(self, file: Any, chunks: AsyncIterator[bytes]) -> None:
        window: Window = deque()
        try:
            async with asyncio.timeout(self._channel.stall) as patience:
                await self._written(file, timely(chunks, patience, self._channel.stall), window)
        except TimeoutError:
            raise DeadlineExceeded("No more content arrived in time.") from None
        finally:
            await background.ended(asyncio.create_task(self._settled(file, window)))

    async def _written(self, file: Any, chunks: AsyncIterator[bytes], window: "Window") -> None:
        block = BLOCK if self._channel.client.limits.max_write_len >= BLOCK else _SAFE_BLOCK
        start = self.end
        async for data in _recut(chunks, block):
            if len(window) == self._window:
                await self._oldest(window)
            task = asyncio.create_task(self._do("write", file.write, data, start))
            start += len(data)
            window.append((task, start))
            await self._digest.take(data)
        await self._digest.finish()

    async def _settled(self, file: Any, window: "Window") -> None:
        """Wait for what is on its way, also when no more comes; where a write failed, cut off what came after it."""
        try:
            while window:
                await self._oldest(window)
        except ApiError:
            await asyncio.gather(*(task for task, _ in window), return_exceptions=True)
            with suppress(ApiError):
                await self._channel.do("write", self._path, file.truncate, self.end)
            raise

    async def _oldest(self, window: "Window") -> None:
        # Whoever waits may be cancelled, a write may not: those behind it are sent, and would leave a hole before them.
        await asyncio.shield(window[0][0])
        self.end = window.popleft()[1]

    async def _do(self, step: str, request: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """As ContentChannel.do, naming the path that the caller knows, and telling a full disk from other failures."""
        try:
            return await self._channel.do(step, self._path, request, *arguments)
        except FileError as error:
            if error.errno == errno.EIO and await self._full():
                raise FileError(step, self._path, errno.ENOSPC) from None
            raise

    async def _full(self) -> bool:
        with suppress(ApiError):
            statvfs = self._channel.client.statvfs
            directory = os.path.dirname(self._part)
            return not (await self._channel.do("access", self._path, statvfs, directory)).bavail
        return False


class _First:
    """The first of some chunks; `all` says whether there were no others."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self.all = False
        self._chunks = chunks

    async def until(self, enough: Callable[[int], bool]) -> AsyncIterator[bytes]:
        """Chunks until `enough` says of the size of all so far that they are."""
        size = 0
        async for chunk in self._chunks:
            yield chunk
            size += len(chunk)
            if enough(size):
                return
        self.all = True


class _Start:
    """The start of a receiver, which stays in `stack`, beside the writing of the first chunks."""

    def __init__(self, stack: AsyncExitStack, channel: ContentChannel) -> None:
        self._stack = stack
        self._channel = channel
        self._task: asyncio.Task[Receiver | None] | None = None

    def ready(self, size: int) -> bool:
        """Whether a receiver can take what follows `size` bytes; ConnectionFailed when the connection is lost."""
        if size >= _LARGE and self._task is None:
            entering = self._stack.enter_async_context(self._channel.receiver())
            self._task = asyncio.create_task(entering)
        return self._task is not None and self._task.done() and self._task.result() is not None

    def receiver(self) -> Receiver:
        """The receiver that is ready."""
        assert self._task is not None  # noqa: S101  # the caller has asked `ready`
        return cast(Receiver, self._task.result())

    async def give_up(self) -> None:
        """End a start that nobody waits for any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


class _Digest:
    """SHA-256 computed beside the event loop, some blocks at once: each hand-over costs as much as 64 KiB."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self._blocks: list[bytes] = []
        self._size = 0
        self._last: asyncio.Future[None] | None = None

    async def take(self, data: bytes) -> None:
        """One more block."""
        self._blocks.append(data)
        self._size += len(data)
        if self._size >= _HASHED_AT_ONCE:
            await self._go_on()

    async def finish(self) -> None:
        """Wait until all blocks are in."""
        await self._go_on()
        if self._last is not None:
            await self._last

    async def _go_on(self) -> None:
        if self._last is not None:
            await self._last
        blocks, self._blocks, self._size = self._blocks, [], 0
        self._last = asyncio.get_running_loop().run_in_executor(None, self._update, blocks)

    def _update(self, blocks: list[bytes]) -> None:
        for block in blocks:
            self.sha256.update(block)


async def _gathered(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces of at least BLOCK bytes, but for the last."""
    gathered: list[bytes] = []
    size = 0
    async for chunk in chunks:
        gathered.append(chunk)
        size += len(chunk)
        if size >= BLOCK:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)


async def _recut(chunks: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """The same bytes in pieces of `size`."""
    buffer = bytearray()
    async for chunk in chunks:
        buffer += chunk
        while len(buffer) >= size:
            piece = bytes(memoryview(buffer)[:size])
            del buffer[:size]
            yield piece
    if buffer:
        yield bytes(buffer)

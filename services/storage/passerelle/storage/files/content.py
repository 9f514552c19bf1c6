"""Files read over SFTP, or what stands in for it, in constant memory: pipelined reads whose bytes are counted.

A window of outstanding requests fills the line. asyncssh's own `get` and `put` do as much, but only into local files.
"""

import asyncio
import errno
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import asyncssh

from passerelle.storage.access.content import ContentChannel, closed, open_file
from passerelle.storage.errors import Changed, FileError
from passerelle.storage.remote.outcome import raw
from passerelle.storage.values import FileInfo

T = TypeVar("T")

BLOCK = 261_120
"""Bytes in one request: OpenSSH's 256 KiB packets less their headers."""
_WINDOW = 12


class RemoteFile:
    """A file open for reading."""

    def __init__(self, channel: ContentChannel, path: str, file: Any) -> None:
        self._channel = channel
        self._path = path
        self._file = file

    async def attributes(self) -> asyncssh.SFTPAttrs:
        """What SFTP knows about it now: times in whole seconds."""
        attributes: asyncssh.SFTPAttrs = await self._channel.do("read", self._path, self._file.stat)
        return attributes

    async def chunks(self, offset: int, length: int) -> AsyncIterator[bytes]:
        """Exactly `length` bytes from `offset` on, with a window of requests ahead of the reader."""
        starts = iter(range(offset, offset + length, BLOCK))
        window: deque[asyncio.Task[bytes]] = deque()
        try:
            while True:
                while len(window) < _WINDOW and (start := next(starts, None)) is not None:
                    wanted = min(BLOCK, offset + length - start)
                    window.append(asyncio.create_task(self._block(start, wanted)))
                if not window:
                    return
                yield await window[0]
                window.popleft()
        finally:
            await abandon(window)

    async def _block(self, start: int, length: int) -> bytes:
        """All of one block: a server may answer with less than asked for, which is not the end of the file."""
        parts = []
        while length:
            part = await self._channel.do("read", self._path, self._file.read, length, start)
            if not part:  # shorter than it was when it was opened
                raise FileError("read", self._path, errno.EIO)
            parts.append(part)
            start += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class SteadyFile:
    """A file open for reading that tells when it changes meanwhile; `look` is how to find out what is there now."""

    def __init__(
        self, file: RemoteFile, info: FileInfo, look: Callable[[], Awaitable[FileInfo]]
    ) -> None:
        self.size = info.size
        self.version = info.version
        self._file = file
        self._info = info
        self._look = look

    async def chunks(self, offset: int, length: int) -> AsyncIterator[bytes]:
        """Exactly `length` bytes from `offset` on; the last come only when all are known to be of this version.

        A file may have grown when only a part of it was asked for. Raises Changed.
        """
        held = b""
        growing = length < self.size
        async with aclosing(self._file.chunks(offset, length)) as blocks:  # type: ignore[type-var]
            try:
                async for block in blocks:
                    if held:
                        yield held
                    held = block
            except FileError:  # it may be shorter now
                await self._require_unchanged(growing=growing)
                raise
            await self._require_unchanged(growing=growing)
        if held:
            yield held

    async def _require_unchanged(self, *, growing: bool) -> None:
        try:
            now = await self._look()
        except FileError:  # it was removed or moved, which does not change what is open
            now = None
        if now is None or (now.inode, now.device) != (self._info.inode, self._info.device):
            attributes = await self._file.attributes()
            seconds = self._info.mtime_ns // 10**9
            same = (attributes.size, attributes.mtime) == (self._info.size, seconds)
        else:
            same = now.version == self.version or (growing and now.size > self.size)
        if not same:
            raise Changed(self._info.name)


@asynccontextmanager
async def opened(channel: ContentChannel, path: str, at: str = "") -> AsyncIterator[RemoteFile]:
    """A file open for reading inside the block; it is opened under the name `at`, if there is one."""
    # block_size=0: every read is one request, so that the window is ours
    request = partial(channel.client.open, raw(at or path), "rb", block_size=0)
    file = await open_file(channel, channel.do("open", path, request))
    try:
        yield RemoteFile(channel, path, file)
    finally:
        await closed(channel, file)


async def abandon(window: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel requests whose answers nobody wants."""
    window = list(window)
    for task in window:
        task.cancel()
    await asyncio.gather(*window, return_exceptions=True)

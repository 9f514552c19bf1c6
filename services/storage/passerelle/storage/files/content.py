"""Files read over SFTP, or what stands in for it, in constant memory: pipelined reads whose bytes are counted.

A window of outstanding requests fills the line. asyncssh's own `get` and `put` do as much, but only into local files.
"""

import asyncio
import errno
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import asyncssh

from passerelle.runtime.errors import ApiError, ConnectionFailed
from passerelle.runtime.ssh.program import LOST
from passerelle.storage.access.deadlines import ending_in
from passerelle.storage.access.operations_sftp import OperationsClient
from passerelle.storage.errors import Changed, FileError
from passerelle.storage.remote.outcome import raw
from passerelle.storage.values import FileInfo

T = TypeVar("T")

BLOCK = 261_120
"""Bytes in one request: OpenSSH's 256 KiB packets less their headers."""
_WINDOW = 12

# SFTP (version 3) has few status codes; OpenSSH reports everything without one of its own as a mere failure.
_ERRNO: Mapping[type[asyncssh.SFTPError], int] = {
    asyncssh.SFTPNoSuchFile: errno.ENOENT,
    asyncssh.SFTPNoSuchPath: errno.ENOENT,
    asyncssh.SFTPPermissionDenied: errno.EACCES,
    asyncssh.SFTPWriteProtect: errno.EROFS,
    asyncssh.SFTPFileAlreadyExists: errno.EEXIST,
    asyncssh.SFTPNoSpaceOnFilesystem: errno.ENOSPC,
    asyncssh.SFTPQuotaExceeded: errno.EDQUOT,
    asyncssh.SFTPFileIsADirectory: errno.EISDIR,
    asyncssh.SFTPNotADirectory: errno.ENOTDIR,
    asyncssh.SFTPLinkLoop: errno.ELOOP,
    asyncssh.SFTPInvalidFilename: errno.ENAMETOOLONG,
}

_BROKEN = (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.SFTPBadMessage)

Client = asyncssh.SFTPClient | OperationsClient
"""What content goes through: SFTP, or what stands in for it."""


class SftpLost(ConnectionFailed):
    """The SFTP session broke off, with its connection or without."""


@dataclass(frozen=True)
class Session:
    """A way to files as content streams use it; `stall` is how long one step may take, in seconds."""

    client: Client
    system: str
    stall: float

    @property
    def holds(self) -> bool:
        """Whether what is open stays open, whatever becomes of its path."""
        return not isinstance(self.client, OperationsClient)

    async def do(
        self, step: str, path: str, request: Callable[..., Awaitable[T]], *arguments: Any
    ) -> T:
        """Make one request, with its errors in our words: FileError about `path`, SftpLost or DeadlineExceeded."""
        try:
            async with ending_in(self.stall):
                return await request(*arguments)
        except asyncssh.SFTPError as error:
            raise self._error(step, path, error) from None
        except FileError as error:
            raise FileError(step, path, error.errno, error.words) from None
        except (*LOST, OSError, asyncssh.Error):
            raise self._lost() from None

    def _error(self, step: str, path: str, error: asyncssh.SFTPError) -> ApiError:
        if isinstance(error, _BROKEN):
            return self._lost()
        return FileError(step, path, _ERRNO.get(type(error), errno.EIO))

    def _lost(self) -> SftpLost:
        return SftpLost(f"The SFTP session with system {self.system} was lost.", system=self.system)


class RemoteFile:
    """A file open for reading."""

    def __init__(self, session: Session, path: str, file: Any) -> None:
        self._session = session
        self._path = path
        self._file = file

    async def attributes(self) -> asyncssh.SFTPAttrs:
        """What SFTP knows about it now: times in whole seconds."""
        found: asyncssh.SFTPAttrs = await self._session.do("read", self._path, self._file.stat)
        return found

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
            part = await self._session.do("read", self._path, self._file.read, length, start)
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
                await self._demand_unchanged(growing=growing)
                raise
            await self._demand_unchanged(growing=growing)
        if held:
            yield held

    async def _demand_unchanged(self, *, growing: bool) -> None:
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
async def opened(session: Session, path: str, at: str = "") -> AsyncIterator[RemoteFile]:
    """A file open for reading inside the block; it is opened under the name `at`, if there is one."""
    # block_size=0: every read is one request, so that the window is ours
    request = partial(session.client.open, raw(at or path), "rb", block_size=0)
    file = await open_file(session, session.do("open", path, request))
    try:
        yield RemoteFile(session, path, file)
    finally:
        await closed(session, file)


async def open_file(session: Session, opening: Awaitable[Any]) -> Any:
    """An open file; one that opens although nobody waits for it any more is closed again."""
    task = asyncio.ensure_future(opening)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(ApiError):
            await closed(session, await task)
        raise


async def closed(session: Session, file: Any) -> None:
    """Close a file, whatever became of it and of the caller."""
    with suppress(ApiError):
        await asyncio.shield(asyncio.create_task(session.do("close", "", file.close)))


async def abandon(window: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel requests whose answers nobody wants."""
    window = list(window)
    for task in window:
        task.cancel()
    await asyncio.gather(*window, return_exceptions=True)

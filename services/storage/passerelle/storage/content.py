"""Content of any size over SFTP, in constant memory: pipelined reads and writes whose bytes are counted.

A window of outstanding requests fills the line; asyncssh's own `get` and `put` move half as much (measured).
"""

import asyncio
import errno
import hashlib
import hmac
import os
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import asyncssh

from passerelle.runtime.errors import (
    ApiError,
    ConnectionFailed,
    DeadlineExceeded,
    Field,
    InvalidArgument,
)
from passerelle.runtime.ssh.connection import LOST
from passerelle.storage.files import FileError, Written

T = TypeVar("T")

BLOCK = 261_120
"""Bytes in one request: OpenSSH's 256 KiB packets less their headers."""
_SAFE_BLOCK = 32_768  # what every SFTP server must take
_WINDOW = 12
_SUFFIX = ".passerelle-part"
_NAME_MAX = 255  # bytes

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


@dataclass(frozen=True)
class Session:
    """An SFTP session as content streams use it; `stall` is how long one step may take, in seconds."""

    sftp: asyncssh.SFTPClient
    system: str
    stall: float

    async def do(
        self, step: str, path: str, request: Callable[..., Awaitable[T]], *arguments: Any
    ) -> T:
        """Make one request, with its errors in our words: FileError, ConnectionFailed or DeadlineExceeded."""
        try:
            async with asyncio.timeout(self.stall):
                return await request(*arguments)
        except TimeoutError:
            raise DeadlineExceeded("Command execution timeout limit exceeded.") from None
        except asyncssh.SFTPError as error:
            raise self._error(step, path, error) from None
        except (*LOST, OSError, asyncssh.Error):
            raise self._lost() from None

    def _error(self, step: str, path: str, error: asyncssh.SFTPError) -> ApiError:
        if isinstance(error, asyncssh.SFTPConnectionLost | asyncssh.SFTPNoConnection):
            return self._lost()
        return FileError(step, path, _ERRNO.get(type(error), errno.EIO))

    def _lost(self) -> ConnectionFailed:
        return ConnectionFailed(
            f"The SSH connection to system {self.system} was lost.", system=self.system
        )


class RemoteFile:
    """A file open for reading. `version` changes whenever the file does."""

    def __init__(self, session: Session, path: str, file: Any, size: int, version: str) -> None:
        self.size = size
        self.version = version
        self._session = session
        self._path = path
        self._file = file

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
            await _abandon(window)

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


@asynccontextmanager
async def opened(session: Session, path: str, version: str) -> AsyncIterator[RemoteFile]:
    """A file open for reading inside the block."""
    # block_size=0: every read is one request, so that the window is ours
    request = partial(session.sftp.open, path, "rb", block_size=0)
    file = await _open(session, session.do("open", path, request))
    try:
        attributes = await session.do("read", path, file.stat)
        yield RemoteFile(session, path, file, attributes.size or 0, version)
    finally:
        await _closed(session, file)


@dataclass(frozen=True)
class Replacement:
    """New content for `path`, which really is `real` (links resolved) and has `mode` when it exists already."""

    session: Session
    path: str
    real: bytes
    mode: int | None
    temporary: bytes

    async def write(self, chunks: AsyncIterator[bytes], sha256: str | None) -> Written:
        """Write all chunks, check them, and only then put them in the place of `real`.

        On any failure, and on cancellation, nothing of it is left where the connection still allows.
        """
        try:
            written = await self._write(chunks)
            if sha256 and not hmac.compare_digest(sha256.lower(), written.sha256):
                raise InvalidArgument(
                    "The content's SHA-256 is not the one announced; nothing was written.",
                    (Field("body", "sha256", f"The content's SHA-256 is {written.sha256}"),),
                )
            await self._do("rename", self.session.sftp.posix_rename, self.temporary, self.real)
        except BaseException:
            await asyncio.shield(asyncio.create_task(self._discard()))
            raise
        return written

    async def _write(self, chunks: AsyncIterator[bytes]) -> Written:
        # A new file gets 0666 less the server's umask; what replaces another must not be readable before
        # it has that one's mode.
        attributes = asyncssh.SFTPAttrs(permissions=0o666 if self.mode is None else 0o600)
        request = partial(self.session.sftp.open, self.temporary, "xb", attributes, block_size=0)
        file = await _open(self.session, self._do("open", request))
        try:
            written = await self._fill(file, chunks)
            await self._settled(file, written.size)
        finally:
            await _closed(self.session, file)
        return written

    async def _settled(self, file: Any, size: int) -> None:
        """All there, with its mode, and on the disk: asked in one go."""
        asked: list[Awaitable[Any]] = [
            self._do("write", file.stat),
            self._do("write", _synced, file),
        ]
        if self.mode is not None:
            asked.append(self._do("write", file.chmod, self.mode & 0o777))
        attributes, *_ = await asyncio.gather(*asked)
        if attributes.size != size:
            raise FileError("write", self.path, errno.EIO)

    async def _fill(self, file: Any, chunks: AsyncIterator[bytes]) -> Written:
        size, digest = 0, hashlib.sha256()
        window: deque[asyncio.Task[int]] = deque()
        block = BLOCK if self.session.sftp.limits.max_write_len >= BLOCK else _SAFE_BLOCK
        try:
            async for data in _recut(self._arriving(chunks), block):
                if len(window) == _WINDOW:
                    await window[0]
                    window.popleft()
                window.append(asyncio.create_task(self._do("write", file.write, data, size)))
                digest.update(data)
                size += len(data)
            while window:
                await window[0]
                window.popleft()
        finally:
            await _abandon(window)
        return Written(size, digest.hexdigest())

    async def _arriving(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The sender's chunks; one that sends nothing for too long gives up its place."""
        while True:
            try:
                async with asyncio.timeout(self.session.stall):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                raise DeadlineExceeded("No more content arrived in time.") from None
            if chunk is None:
                return
            yield chunk

    async def _do(self, step: str, request: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """As Session.do, naming the path that the caller knows, and telling a full disk from other failures."""
        try:
            return await self.session.do(step, self.path, request, *arguments)
        except FileError as error:
            if error.errno == errno.EIO and await self._full():
                raise FileError(step, self.path, errno.ENOSPC) from None
            raise

    async def _full(self) -> bool:
        with suppress(ApiError):
            statvfs = self.session.sftp.statvfs
            found = await self.session.do("access", self.path, statvfs, os.path.dirname(self.real))
            return not found.bavail
        return False

    async def _discard(self) -> None:
        with suppress(ApiError):
            await self.session.do("unlink", self.path, self.session.sftp.remove, self.temporary)


def temporary_name(path: bytes) -> bytes:
    """A new hidden name beside `path`, of at most 255 bytes."""
    directory, name = os.path.split(path)
    ending = f".{secrets.token_hex(6)}{_SUFFIX}".encode()
    room = _NAME_MAX - 1 - len(ending)
    cut = name[:room].decode(errors="ignore").encode()  # no half of a character
    return os.path.join(directory, b"." + cut + ending)


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


async def _open(session: Session, opening: Awaitable[Any]) -> Any:
    """An open file; one that opens although nobody waits for it any more is closed again."""
    task = asyncio.ensure_future(opening)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(ApiError):
            await _closed(session, await task)
        raise


async def _synced(file: Any) -> None:
    with suppress(asyncssh.SFTPOpUnsupported):
        await file.fsync()


async def _closed(session: Session, file: Any) -> None:
    """Close a file, whatever became of it."""
    with suppress(ApiError):
        await asyncio.shield(asyncio.create_task(session.do("close", "", file.close)))


async def _abandon(window: "deque[asyncio.Task[Any]]") -> None:
    for task in window:
        task.cancel()
    await asyncio.gather(*window, return_exceptions=True)

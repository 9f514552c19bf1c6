"""The way that file content takes: SFTP, or what stands in for it where an account has none."""

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncssh

from passerelle.runtime import background
from passerelle.runtime.errors import ApiError, ConnectionFailed
from passerelle.runtime.ssh.program import LOST
from passerelle.storage.access.deadlines import ending_in
from passerelle.storage.access.operations_sftp import OperationsClient
from passerelle.storage.access.receiver import Receiver
from passerelle.storage.errors import FileError

T = TypeVar("T")

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


@asynccontextmanager
async def no_receiver() -> AsyncIterator[None]:
    """For accounts that cannot have a receiver."""
    yield None


@dataclass(frozen=True)
class ContentChannel:
    """A way for content to and from files of one system; `stall` is how long one step may take, in seconds.

    `receiver` starts a receiver for a large upload, if it can.
    """

    client: Client
    system: str
    stall: float
    receiver: Callable[[], AbstractAsyncContextManager[Receiver | None]] = no_receiver

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


async def open_file(channel: ContentChannel, opening: Awaitable[Any]) -> Any:
    """An open file; one that opens although nobody waits for it any more is closed again."""
    task = asyncio.ensure_future(opening)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(ApiError):
            await closed(channel, await task)
        raise


async def closed(channel: ContentChannel, file: Any) -> None:
    """Close a file, whatever became of it and of the caller; what was asked of it before has been done then."""
    with suppress(ApiError):
        await background.ended(asyncio.create_task(channel.do("close", "", file.close)))

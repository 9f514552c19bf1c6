"""What content streams use of asyncssh's SFTP client, by operations: for accounts that have no SFTP.

Nothing is held open on the system: each step opens the file anew. One that was replaced meanwhile is told as changed.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol, Self, TypeVar

import asyncssh
import orjson

from passerelle.storage.access.operations import FileOperations
from passerelle.storage.values import Columns, FileInfo, Listing

T = TypeVar("T")

_NO_ATTRIBUTES = asyncssh.SFTPAttrs()
_NAMES: Columns = (("name", "name"), ("mode", "mode"))
_MOST_NAMES = 1 << 26  # bytes


class Ask(Protocol):
    """Asks for operations, each over whatever connection there is."""

    async def __call__(self, question: Callable[[FileOperations], Awaitable[T]]) -> T:
        """What `question` makes of the operations; raises what they raise."""
        ...


class OperationsClient:
    """Stands in for `asyncssh.SFTPClient`; `ask` asks for operations."""

    limits = asyncssh.SFTPLimits(0, 1 << 18, 1 << 18, 0)

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def open(
        self,
        path: bytes,
        flags: str,
        attributes: asyncssh.SFTPAttrs = _NO_ATTRIBUTES,
        block_size: int = 0,
    ) -> "_File":
        """A file to read (`rb`), a new one that only its user can read (`xb`), or one to write to (`r+b`)."""
        file = _File(self._ask, path)
        if flags == "xb":
            await self._ask(lambda files: files.make_part(_name(path)))
        elif flags == "rb":
            await file.begin_reading()
        return file

    async def remove(self, path: bytes) -> None:
        """Remove a file, if it is there."""
        await self._ask(lambda files: files.remove_part(_name(path)))

    async def scandir(self, directory: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        """What is in a directory: names, and the mode of each, which says its kind, too."""
        path, listing = _name(directory), Listing(hidden=True)
        names = await self._ask(lambda files: files.table(path, listing, _NAMES, _MOST_NAMES))
        for entry in orjson.loads(names):
            attributes = asyncssh.SFTPAttrs(permissions=entry["mode"])
            yield asyncssh.SFTPName(entry["name"].encode(), attrs=attributes)

    async def statvfs(self, path: bytes) -> asyncssh.SFTPVFSAttrs:
        """Room enough: operations say themselves when a disk is full."""
        return asyncssh.SFTPVFSAttrs(bavail=1)


class _File:
    """Stands in for an `asyncssh.SFTPClientFile`."""

    def __init__(self, ask: Ask, path: bytes) -> None:
        self._ask = ask
        self._path = _name(path)
        self._identity: tuple[int, int] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def begin_reading(self) -> None:
        """Find out whether it can be read, and which file it is."""
        await self.read(0, 0)
        info = await self._look()
        self._identity = (info.inode, info.device)

    async def read(self, size: int, offset: int) -> bytes:
        """At most `size` bytes, fewer at the file's end."""
        return await self._ask(lambda files: files.read(self._path, offset, size, None))

    async def write(self, data: bytes, offset: int) -> int:
        """Write all of it."""
        await self._ask(lambda files: files.write_part(self._path, offset, data))
        return len(data)

    async def truncate(self, size: int) -> None:
        """Give up what lies behind `size`."""
        await self._ask(lambda files: files.truncate_part(self._path, size))

    async def stat(self) -> asyncssh.SFTPAttrs:
        """Size, last change and mode; nothing of a file that has been replaced since it was opened."""
        info = await self._look()
        if self._identity not in (None, (info.inode, info.device)):
            return asyncssh.SFTPAttrs()
        return asyncssh.SFTPAttrs(
            size=info.size, mtime=info.mtime_ns // 10**9, permissions=info.mode
        )

    async def close(self) -> None:
        """Nothing is held open."""

    async def _look(self) -> FileInfo:
        return await self._ask(lambda files: files.stat(self._path, dereference=True))


def _name(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")

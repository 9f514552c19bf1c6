"""What content streams use of asyncssh's SFTP client, by operations: for accounts that have no SFTP.

Nothing is held open on the system: each step opens the file anew. One that was replaced meanwhile is told as changed.
"""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self

import asyncssh
import orjson

Ask = Callable[..., Awaitable[bytes]]
_NO_ATTRIBUTES = asyncssh.SFTPAttrs()
_LOOK = [(name, name) for name in ("size", "mtime_ns", "inode", "device", "mode")]


class OperationsClient:
    """Stands in for `asyncssh.SFTPClient`; `ask` gives the answer to an operation, or raises its FileError."""

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
            await self._ask("make_part", part=_name(path))
        elif flags == "rb":
            await file.begin_reading()
        return file

    async def remove(self, path: bytes) -> None:
        """Remove a file, if it is there."""
        await self._ask("drop_part", part=_name(path))

    async def scandir(self, directory: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        """What is in a directory: names, and the mode of each, which says its kind, too."""
        columns = [("name", "name"), ("mode", "mode")]
        options = {"hidden": True, "recursive": False, "dereference": False, "limit": 1 << 26}
        found = await self._ask("list", path=_name(directory), columns=columns, **options)
        for entry in orjson.loads(found):
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
        found = await self._look()
        self._identity = (found["inode"], found["device"])

    async def read(self, size: int, offset: int) -> bytes:
        """At most `size` bytes, fewer at the file's end."""
        return await self._ask("read", path=self._path, offset=offset, length=size, limit=None)

    async def write(self, data: bytes, offset: int) -> int:
        """Write all of it."""
        content = base64.b64encode(data).decode()
        await self._ask("write_part", part=self._path, offset=offset, content=content)
        return len(data)

    async def truncate(self, size: int) -> None:
        """Give up what lies behind `size`."""
        await self._ask("cut_part", part=self._path, size=size)

    async def stat(self) -> asyncssh.SFTPAttrs:
        """Size, last change and mode; nothing of a file that has been replaced since it was opened."""
        found = await self._look()
        if self._identity not in (None, (found["inode"], found["device"])):
            return asyncssh.SFTPAttrs()
        return asyncssh.SFTPAttrs(
            size=found["size"], mtime=found["mtime_ns"] // 10**9, permissions=found["mode"]
        )

    async def close(self) -> None:
        """Nothing is held open."""

    async def _look(self) -> dict[str, Any]:
        found = await self._ask("stat", path=self._path, dereference=True, columns=_LOOK)
        return dict(orjson.loads(found))


def _name(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")

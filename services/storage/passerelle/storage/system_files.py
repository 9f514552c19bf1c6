"""The Files port over SSH."""

import asyncio
import errno
import json
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import orjson

from passerelle.runtime import caller
from passerelle.runtime.errors import ApiError, ConnectionFailed
from passerelle.storage.content import RemoteFile, Replacement, opened, temporary_name
from passerelle.storage.files import (
    EVERYTHING,
    Columns,
    Excerpt,
    FileError,
    FileInfo,
    Listing,
    Written,
)
from passerelle.storage.sessions import Sessions
from passerelle.storage.shared_calls import SharedCalls

_LISTING_LIMIT = 60 << 20  # bytes; the largest reply that Envoy passes on is 64 MiB


class SystemFiles:
    """The files of one system; see `Files` for what its methods do."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._shared = SharedCalls()

    async def stat(self, path: str, *, dereference: bool = False) -> FileInfo:
        """See `Files.stat`."""
        return FileInfo(**orjson.loads(await self.row(path, EVERYTHING, dereference=dereference)))

    async def list(self, path: str, listing: Listing) -> Sequence[FileInfo]:
        """See `Files.list`."""
        return [
            FileInfo(**row) for row in orjson.loads(await self.table(path, listing, EVERYTHING))
        ]

    async def table(self, path: str, listing: Listing, columns: Columns) -> bytes:
        """See `Files.table`."""
        key = (caller.current().username, path, listing, tuple(columns))
        return await self._shared.run(key, lambda: self._table(path, listing, columns))

    async def _table(self, path: str, listing: Listing, columns: Columns) -> bytes:
        return await self._sessions.call(
            "list",
            path=path,
            columns=columns,
            hidden=listing.hidden,
            recursive=listing.recursive,
            dereference=listing.dereference,
            limit=_LISTING_LIMIT,
        )

    async def row(self, path: str, columns: Columns, *, dereference: bool = False) -> bytes:
        """See `Files.row`."""
        return await self._sessions.call(
            "stat", path=path, dereference=dereference, columns=columns
        )

    async def read(self, path: str, offset: int, length: int, limit: int | None = None) -> bytes:
        """See `Files.read`."""
        return await self._sessions.call(
            "read", path=path, offset=offset, length=length, limit=limit
        )

    async def excerpt(self, path: str, excerpt: Excerpt, limit: int) -> bytes:
        """See `Files.excerpt`."""
        return await self._sessions.call(
            "excerpt",
            path=path,
            unit=excerpt.unit,
            count=excerpt.count,
            from_end=excerpt.from_end,
            before=excerpt.before,
            limit=limit,
        )

    async def make_directory(self, path: str, columns: Columns, *, parents: bool = False) -> bytes:
        """See `Files.make_directory`."""
        return await self._sessions.change("mkdir", path=path, parents=parents, columns=columns)

    async def remove(self, path: str) -> None:
        """See `Files.remove`."""
        await self._sessions.change("remove", path=path)

    @asynccontextmanager
    async def opened(self, path: str) -> AsyncIterator[RemoteFile]:
        """See `Files.opened`."""
        info = await self.stat(path, dereference=True)
        if not stat.S_ISREG(info.mode):  # opening a pipe would hang the whole SFTP session
            number = errno.EISDIR if stat.S_ISDIR(info.mode) else errno.EINVAL
            raise FileError("read", path, number)
        async with self._sessions.transfer() as session, opened(session, path, info.version) as file:
            yield file

    async def write(
        self, path: str, chunks: AsyncIterator[bytes], sha256: str | None = None
    ) -> Written:
        """See `Files.write`."""
        target = json.loads(await self._sessions.call("target", path=path))
        real = target["real"].encode("utf-8", "surrogateescape")
        temporary = temporary_name(real)
        try:
            async with self._sessions.transfer() as session:
                replacement = Replacement(session, path, real, target["mode"], temporary)
                return await replacement.write(chunks, sha256)
        except ConnectionFailed:
            await asyncio.shield(asyncio.create_task(self._discard(temporary)))
            raise

    async def _discard(self, temporary: bytes) -> None:
        """Remove what a lost connection left, over a new one if there is one."""
        with suppress(ApiError):
            async with self._sessions.transfer() as session:
                await session.do("unlink", "", session.sftp.remove, temporary)

"""The Files port over SSH."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import replace

import orjson

from passerelle.runtime import caller
from passerelle.runtime.errors import ApiError
from passerelle.runtime.flight import FreshFlights
from passerelle.storage.access.sessions import Operations, Sessions
from passerelle.storage.errors import Changed, FileError
from passerelle.storage.files.arrivals import Arrival
from passerelle.storage.files.content import RemoteFile, SteadyFile, opened
from passerelle.storage.files.writing import Writing, demand, new_token, wrong_checksum
from passerelle.storage.remote.outcome import raw
from passerelle.storage.values import (
    EVERYTHING,
    REPLACE,
    Columns,
    Excerpt,
    FileInfo,
    Listing,
    WriteConditions,
    Written,
)

_OPENINGS = 5  # of a file that is being replaced again and again
_LISTING_LIMIT = 60 << 20  # bytes; the largest reply that Envoy passes on is 64 MiB


class SystemFiles:
    """The files of one system; see `Files` for what its methods do."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._writing = Writing(sessions)
        self._shared = FreshFlights()

    async def notes(self) -> Sequence[str]:
        """See `Files.notes`."""
        return await self._sessions.notes()

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
            pattern=listing.pattern,
            after=listing.after,
            count=listing.count,
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
    async def opened(self, path: str) -> AsyncIterator[SteadyFile]:
        """See `Files.opened`."""
        async with AsyncExitStack() as stack:
            session, operations = await stack.enter_async_context(self._sessions.reading())
            for _ in range(_OPENINGS):
                async with _held(operations, path, session.stall) as (info, at):
                    if session.holds and at:
                        with suppress(FileError):  # an account shut into a directory has no /proc
                            file = await stack.enter_async_context(opened(session, path, at))
                            break
                    file = await stack.enter_async_context(opened(session, path))
                if await self._same(file, info, path):
                    break
            else:
                raise Changed(path)
            yield SteadyFile(file, info, lambda: self.stat(path, dereference=True))

    async def _same(self, file: RemoteFile, info: FileInfo, path: str) -> bool:
        """Whether `file`, opened by its path, is the one that was looked at: it is still there, and has its owner."""
        now = await self.stat(path, dereference=True)
        there = (now.inode, now.device) == (info.inode, info.device)
        return there and (await file.attributes()).uid in (None, info.uid)

    async def demand_writable(self, path: str) -> str:
        """See `Files.demand_writable`."""
        return (await self._writing.target(path)).real

    async def write(
        self, path: str, chunks: AsyncIterator[bytes], terms: WriteConditions = REPLACE
    ) -> Written:
        """See `Files.write`."""
        target = await self._writing.target(path)
        demand(target, terms)
        part = target.part(new_token())
        try:
            async with self._sessions.transfer() as session:
                arrival = Arrival(session, path, raw(part))
                await arrival.new(chunks)
            size, sha256 = arrival.end, arrival.sha256
            if terms.sha256 and not hmac.compare_digest(terms.sha256, sha256):
                raise wrong_checksum(sha256)
            version = await self._writing.place(target, part, size, replace(terms, sha256=""))
        except BaseException:
            await asyncio.shield(asyncio.create_task(self._discard(part)))
            raise
        return Written(size, sha256, version)

    async def _discard(self, part: str) -> None:
        """Remove what a failed write left, over a new connection if the old one is lost."""
        with suppress(ApiError):
            await self._sessions.change("remove", path=part)


@asynccontextmanager
async def _held(
    operations: Operations, path: str, stall: float
) -> AsyncIterator[tuple[FileInfo, str]]:
    """A regular file held open on the system inside the block, and where it can be opened there, if anywhere."""
    asked = {"path": path, "columns": EVERYTHING}
    async with aclosing(operations.stream("hold", asked, stall)) as pieces:
        found = orjson.loads(await anext(pieces))
        yield FileInfo(**found["file"]), found["at"]

"""The Files port over SSH."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace

from passerelle.runtime import caller
from passerelle.runtime.errors import ApiError
from passerelle.runtime.flight import FreshFlights
from passerelle.storage import values
from passerelle.storage.access.deadlines import ending_in
from passerelle.storage.access.system_access import SystemAccess
from passerelle.storage.errors import Changed, FileError
from passerelle.storage.files.arrivals import Arrival
from passerelle.storage.files.beginning import Beginning
from passerelle.storage.files.content import RemoteFile, SteadyFile, opened
from passerelle.storage.files.writing import (
    Writing,
    accepted,
    new_token,
    require_conditions,
    wrong_checksum,
)
from passerelle.storage.remote.outcome import raw

_OPENINGS = 5  # attempts, for a file that is replaced again and again
_LISTING_LIMIT = 60 << 20  # bytes; the largest reply that Envoy passes on is 64 MiB


class SystemFiles:
    """The files of one system; see `Files` for what its methods do."""

    def __init__(self, access: SystemAccess) -> None:
        self._access = access
        self._writing = Writing(access)
        self._shared = FreshFlights()

    async def notes(self) -> Sequence[str]:
        """See `Files.notes`."""
        return await self._access.notes()

    async def stat(self, path: str, *, dereference: bool = False) -> values.FileInfo:
        """See `Files.stat`."""
        return await self._access.query(lambda files: files.stat(path, dereference=dereference))

    async def row(
        self, path: str, columns: values.Columns, *, dereference: bool = False
    ) -> values.Row:
        """See `Files.row`."""
        return await self._access.query(
            lambda files: files.row(path, columns, dereference=dereference)
        )

    async def list(self, path: str, listing: values.Listing) -> Sequence[values.FileInfo]:
        """See `Files.list`."""
        key = (caller.current().username, path, listing)
        return await self._shared.run(key, lambda: self._list(path, listing))

    async def _list(self, path: str, listing: values.Listing) -> Sequence[values.FileInfo]:
        return await self._access.query(lambda files: files.list(path, listing, _LISTING_LIMIT))

    async def table(
        self, path: str, listing: values.Listing, columns: values.Columns
    ) -> values.Table:
        """See `Files.table`."""
        key = (caller.current().username, path, listing, tuple(columns))
        return await self._shared.run(key, lambda: self._table(path, listing, columns))

    async def _table(
        self, path: str, listing: values.Listing, columns: values.Columns
    ) -> values.Table:
        return await self._access.query(
            lambda files: files.table(path, listing, columns, _LISTING_LIMIT)
        )

    async def read(self, path: str, offset: int, length: int, limit: int | None = None) -> bytes:
        """See `Files.read`."""
        return await self._access.query(lambda files: files.read(path, offset, length, limit))

    async def excerpt(self, path: str, excerpt: values.Excerpt, limit: int) -> bytes:
        """See `Files.excerpt`."""
        return await self._access.query(lambda files: files.excerpt(path, excerpt, limit))

    async def make_directory(self, path: str, *, parents: bool = False) -> values.FileInfo:
        """See `Files.make_directory`."""
        return await self._access.change(lambda files: files.make_directory(path, parents=parents))

    async def remove(self, path: str) -> None:
        """See `Files.remove`."""
        await self._access.change(lambda files: values.finished(files.remove(path)))

    @asynccontextmanager
    async def opened(self, path: str) -> AsyncIterator[SteadyFile]:
        """See `Files.opened`."""
        async with AsyncExitStack() as stack:
            transfer = await stack.enter_async_context(self._access.transfer())
            channel, operations = await transfer.content(), await transfer.operations()
            for _ in range(_OPENINGS):
                async with operations.hold(path) as held:
                    if channel.holds and held.at:
                        with suppress(FileError):  # a chrooted account has no /proc
                            file = await stack.enter_async_context(opened(channel, path, held.at))
                            break
                    file = await stack.enter_async_context(opened(channel, path))
                if await self._same(file, held.info, path):
                    break
            else:
                raise Changed(path)
            yield SteadyFile(file, held.info, lambda: self.stat(path, dereference=True))

    async def _same(self, file: RemoteFile, info: values.FileInfo, path: str) -> bool:
        """Whether `file`, opened by its path, is the one that `info` is about: that still exists, with its owner."""
        now = await self.stat(path, dereference=True)
        there = (now.inode, now.device) == (info.inode, info.device)
        return there and (await file.attributes()).uid in (None, info.uid)

    async def require_writable(self, path: str) -> str:
        """See `Files.require_writable`."""
        return (await self._writing.target(path)).real

    async def write(
        self,
        path: str,
        chunks: AsyncIterator[bytes],
        conditions: values.WriteConditions = values.REPLACE,
        *,
        cut_off_raises: bool = False,
        digest: bool = True,
    ) -> values.Written:
        """See `Files.write`."""
        known_whole = cut_off_raises or bool(conditions.sha256)
        if conditions.depend_on_target:
            require_conditions(await self._writing.target(path), conditions)
        async with self._access.transfer() as transfer:
            operations = await transfer.operations()
            # One request of the helper cannot be taken back when the cancellation comes.
            limit = operations.content_limit if known_whole else 0
            beginning = Beginning(chunks, limit, transfer.stall)
            content = await beginning.complete()
            if content is not None:
                async with ending_in(transfer.stall):
                    written = await operations.write_file(path, content, conditions, digest=digest)
                return accepted(path, written)
            target = await self._writing.target(path)
            require_conditions(target, conditions)
            part = target.part(new_token())
            async with self._removed_on_failure(part):
                arrival = Arrival(await transfer.content(), path, raw(part))
                await arrival.new(beginning.all())
        async with self._removed_on_failure(part):
            size, sha256 = arrival.end, arrival.sha256
            if conditions.sha256 and not hmac.compare_digest(conditions.sha256, sha256):
                raise wrong_checksum(sha256)
            version = await self._writing.place(target, part, size, replace(conditions, sha256=""))
        return values.Written(size, sha256, version)

    @asynccontextmanager
    async def _removed_on_failure(self, part: str) -> AsyncIterator[None]:
        try:
            yield
        except BaseException:
            await asyncio.shield(asyncio.create_task(self._discard(part)))
            raise

    async def _discard(self, part: str) -> None:
        """Remove the part of a failed write, over a new connection if the old one is lost."""
        with suppress(ApiError):
            await self._access.change(lambda files: values.finished(files.remove(part)))

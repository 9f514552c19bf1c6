"""Uploads that survive lost connections, a restart of this service, and a change of the process that serves them.

All state is on the system: the content of an upload is a hidden file beside its target. Its name is made of the
target's name and the upload's id, and only its user can read it.
"""

import asyncio
import errno
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import grpc

from passerelle.runtime import caller
from passerelle.runtime.errors import ApiError, Field, InvalidArgument, NotFound
from passerelle.storage.access.system_access import SystemAccess
from passerelle.storage.config import StorageSection
from passerelle.storage.errors import FileError
from passerelle.storage.files.arrivals import Arrival
from passerelle.storage.files.writing import Target, Writing, new_token
from passerelle.storage.remote.outcome import raw
from passerelle.storage.values import WriteConditions, Written, finished

_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_DAY = 86_400  # seconds


class TakenOver(ApiError):
    """A later call writes to the same upload; the bytes that this one wrote are kept."""

    code = grpc.StatusCode.ABORTED
    reason = "UPLOAD_TAKEN_OVER"
    http = 409


@dataclass(eq=False)
class _Work:
    """The work on one part. The task that holds `alone` does it; the latest task is the next one."""

    alone: asyncio.Lock = field(default_factory=asyncio.Lock)
    latest: "asyncio.Task[Any] | None" = None


class Uploads:
    """The uploads to one system, as the current caller.

    Every method raises FileError when the system refuses, ConnectionFailed, Overloaded or DeadlineExceeded when it
    cannot be reached, InvalidArgument for a malformed `upload_id`, and NotFound for an unknown one.
    """

    def __init__(self, access: SystemAccess, settings: StorageSection) -> None:
        self._access = access
        self._writing = Writing(access)
        self._stale = settings.abandoned_after * _DAY
        self._working: WeakValueDictionary[tuple[str, str], _Work] = WeakValueDictionary()

    async def create(self, path: str, upload_id: str = "") -> str:
        """Begin an upload to the absolute `path`; its id. The user's abandoned uploads in that directory are removed.

        A copy between systems passes an id, by which it finds the upload again. Raises FileError (EEXIST) when an
        upload with that id exists.
        """
        target, upload_id = await self._writing.target(path), upload_id or new_token()
        part = target.part(upload_id)
        await self._access.change(lambda files: files.begin_part(target.real, part, self._stale))
        return upload_id

    async def part(self, path: str, upload_id: str) -> str:
        """The absolute path of the hidden file with the content, for jobs that write to it on the system."""
        return (await self._part(path, upload_id))[1]

    async def received(self, path: str, upload_id: str) -> int:
        """The number of bytes that have arrived: the offset to continue from."""
        _, part = await self._part(path, upload_id)
        return await self._size(part)

    async def write(
        self, path: str, upload_id: str, offset: int, chunks: AsyncIterator[bytes]
    ) -> int:
        """Write `chunks` from `offset` on, in constant memory; the number of bytes that have arrived then.

        Bytes behind `offset` are discarded; an `offset` beyond the end raises InvalidArgument. When `chunks` fails or
        the call is cancelled, the bytes written before are kept. Of two concurrent writers the later one continues,
        and TakenOver is raised in the earlier one.
        """
        target, part = await self._part(path, upload_id)
        async with self._alone(part):
            return await self._write(target, part, offset, chunks)

    async def complete(
        self, path: str, upload_id: str, size: int, conditions: WriteConditions
    ) -> Written:
        """Move an upload of `size` bytes to its target, completely or not at all.

        Raises InvalidArgument for another size or checksum, PreconditionFailed or FileError (EEXIST) when the target
        does not meet the `conditions`; the upload is kept and can be continued or aborted. The checksum in the result
        is that in `conditions`.
        """
        target, part = await self._part(path, upload_id)
        async with self._alone(part):
            try:
                version = await self._writing.place(target, part, size, conditions)
            except FileError as error:
                raise _unknown(error) if error.step == "part" else error from None
        return Written(size, conditions.sha256, version)

    async def abort(self, path: str, upload_id: str) -> None:
        """Remove the upload."""
        _, part = await self._part(path, upload_id)
        async with self._alone(part):
            await self._size(part)
            await self._access.change(lambda files: finished(files.remove(part)))

    async def _part(self, path: str, upload_id: str) -> tuple[Target, str]:
        if not _ID.fullmatch(upload_id):  # it becomes part of a file's name
            violation = "must be the id that CreateUpload returned"
            raise InvalidArgument(
                f"upload_id {violation}", (Field("path", "upload_id", violation),)
            )
        target = await self._writing.target(path)
        return target, target.part(upload_id)

    async def _size(self, part: str) -> int:
        try:
            info = await self._access.query(lambda files: files.stat(part, dereference=False))
        except FileError as error:
            raise _unknown(error) from None
        return info.size

    async def _write(
        self, target: Target, part: str, offset: int, chunks: AsyncIterator[bytes]
    ) -> int:
        try:
            received = await self._access.query(lambda files: files.settled_size(part))
        except FileError as error:
            raise _unknown(error) from None
        if not 0 <= offset <= received:
            violation = f"must be between 0 and {received}, which is how much has arrived"
            raise InvalidArgument(f"offset {violation}", (Field("query", "offset", violation),))
        async with self._access.content() as channel:
            arrival = Arrival(channel, target.path, raw(part), offset)
            await arrival.go_on(chunks)
            return arrival.end

    @asynccontextmanager
    async def _alone(self, part: str) -> AsyncIterator[None]:
        """Run the block after this service's earlier work on the part has been ended."""
        key = (caller.current().username, part)
        work = self._working.get(key) or _Work()
        self._working[key] = work
        me = asyncio.current_task()
        before, work.latest = work.latest, me
        if before is not None:
            before.cancel()
        try:
            async with work.alone:
                yield
        except asyncio.CancelledError:
            if work.latest is me or me is None:
                raise
            me.uncancel()
            raise TakenOver("Another call goes on with this upload.") from None
        finally:
            if work.latest is me:
                work.latest = None


def _unknown(error: FileError) -> ApiError:
    """NotFound instead of an error about a missing part; any other error unchanged."""
    return NotFound("There is no such upload.") if error.errno == errno.ENOENT else error

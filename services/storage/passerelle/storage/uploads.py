"""Uploads that survive broken lines, a restart of this service, and change of hands.

There is no state but the system's: what has arrived of an upload is a hidden file beside its target, whose name follows
from the target's and the upload's id, and which only its user can read.
"""

import asyncio
import errno
import re
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

import grpc

from passerelle.runtime import caller
from passerelle.runtime.errors import ApiError, Field, InvalidArgument, NotFound
from passerelle.storage.arrivals import Arrival
from passerelle.storage.config import StorageSection
from passerelle.storage.files import FileError, Written
from passerelle.storage.sessions import Sessions
from passerelle.storage.terms import Terms
from passerelle.storage.writing import Target, Writing, new_token

T = TypeVar("T")

_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_DAY = 86_400  # seconds


class TakenOver(ApiError):
    """Another call works on the same upload now; what this one wrote is kept."""

    code = grpc.StatusCode.ABORTED
    reason = "UPLOAD_TAKEN_OVER"
    http = 409


class Uploads:
    """The uploads to one system, as the current caller.

    Every method raises FileError for what the system refuses, ConnectionFailed, Overloaded or DeadlineExceeded for the
    way there; those that take an `upload_id` raise InvalidArgument for one that cannot be, NotFound for one that is not.
    """

    def __init__(self, sessions: Sessions, settings: StorageSection) -> None:
        self._sessions = sessions
        self._writing = Writing(sessions)
        self._stale = settings.abandoned_after * _DAY
        self._working: dict[tuple[str, str], asyncio.Task[object]] = {}

    async def create(self, path: str, upload_id: str = "") -> str:
        """Begin an upload to the absolute `path`, and sweep what the user abandoned in its directory; the new id.

        A copy between systems gives an id of its own, by which it finds the upload again; FileError (EEXIST) when that
        one has begun already.
        """
        target, upload_id = await self._writing.target(path), upload_id or new_token()
        part = target.part(upload_id)
        await self._sessions.change("begin", path=target.real, part=part, stale=self._stale)
        return upload_id

    async def received(self, path: str, upload_id: str) -> int:
        """How many bytes have arrived: the offset to go on from."""
        target, part = await self._part(path, upload_id)
        return await self._size(target, part)

    async def write(
        self, path: str, upload_id: str, offset: int, chunks: AsyncIterator[bytes]
    ) -> int:
        """Write `chunks` from `offset` on, in constant memory; how many bytes there are now.

        `offset` must not be beyond what has arrived (InvalidArgument); what lies behind it is given up. When `chunks`
        fails or the call is cancelled, what came before is kept. Of two writers at once the later one goes on, and the
        earlier gets TakenOver.
        """
        target, part = await self._part(path, upload_id)
        return await self._alone(part, self._write(target, part, offset, chunks))

    async def complete(self, path: str, upload_id: str, size: int, terms: Terms) -> Written:
        """Put an upload of `size` bytes in its place, whole or not at all; what was written, and its version.

        Raises InvalidArgument when size or checksum are others, PreconditionFailed or FileError (EEXIST) when the
        target is not what `terms` say; the upload stays, to go on with or to abort. The checksum in the result is that
        in `terms`.
        """
        target, part = await self._part(path, upload_id)
        try:
            version = await self._alone(part, self._writing.place(target, part, size, terms))
        except FileError as error:
            raise _unknown(error) from None
        return Written(size, terms.sha256, version)

    async def abort(self, path: str, upload_id: str) -> None:
        """Remove what has arrived."""
        target, part = await self._part(path, upload_id)
        await self._size(target, part)
        await self._alone(part, self._sessions.change("remove", path=part))

    async def _part(self, path: str, upload_id: str) -> tuple[Target, str]:
        if not _ID.fullmatch(upload_id):  # it becomes a piece of a file's name
            wrong = "must be the id that CreateUpload returned"
            raise InvalidArgument(f"upload_id {wrong}", (Field("path", "upload_id", wrong),))
        target = await self._writing.target(path)
        return target, target.part(upload_id)

    async def _size(self, target: Target, part: str) -> int:
        try:
            answer = await self._sessions.call(
                "stat", path=part, dereference=False, columns=[("size", "size")]
            )
        except FileError as error:
            raise _unknown(error) from None
        return int(json.loads(answer)["size"])

    async def _write(
        self, target: Target, part: str, offset: int, chunks: AsyncIterator[bytes]
    ) -> int:
        received = await self._size(target, part)
        if not 0 <= offset <= received:
            wrong = f"must be between 0 and {received}, which is how much has arrived"
            raise InvalidArgument(f"offset {wrong}", (Field("query", "offset", wrong),))
        async with self._sessions.transfer() as session:
            name = part.encode("utf-8", "surrogateescape")
            arrival = Arrival(session, target.path, name, offset)
            await arrival.go_on(chunks)
            return arrival.end

    async def _alone(self, part: str, work: Coroutine[Any, Any, T]) -> T:
        """Do the work on a part when whatever this service was still doing with it has been ended."""
        key = (caller.current().username, part)
        task = asyncio.create_task(work)
        before, self._working[key] = self._working.get(key), task
        try:
            if before is not None:
                before.cancel(_TAKEN_OVER)
                await asyncio.wait((before,))
            return await task
        except asyncio.CancelledError as cancelled:
            raise
        finally:
            if self._working.get(key) is task:
                del self._working[key]

"""Uploads that survive broken lines, a restart of this service, and change of hands.

There is no state but the system's: what has arrived of an upload is a hidden file beside its target, whose name follows
from the target's and the upload's id, and which only its user can read.
"""

from collections.abc import AsyncIterator

from passerelle.storage.config import StorageSection
from passerelle.storage.files import Written
from passerelle.storage.sessions import Sessions
from passerelle.storage.writing import Terms


class Uploads:
    """The uploads to one system, as the current caller.

    Every method raises FileError for what the system refuses, ConnectionFailed, Overloaded or DeadlineExceeded for the
    way there; those that take an `upload_id` raise InvalidArgument for one that cannot be, NotFound for one that is not.
    """

    def __init__(self, sessions: Sessions, settings: StorageSection) -> None:
        self._sessions = sessions
        self._settings = settings

    async def create(self, path: str, upload_id: str = "") -> str:
        """Begin an upload to the absolute `path`, and sweep what the user abandoned in its directory; the new id.

        A copy between systems gives an `upload_id` of its own, by which it finds the upload again; FileError (EEXIST)
        when that one has begun already.
        """
        raise NotImplementedError

    async def received(self, path: str, upload_id: str) -> int:
        """How many bytes have arrived: the offset to go on from."""
        raise NotImplementedError

    async def write(
        self, path: str, upload_id: str, offset: int, chunks: AsyncIterator[bytes]
    ) -> int:
        """Write `chunks` from `offset` on, in constant memory; how many bytes there are now.

        `offset` must not be beyond what has arrived (InvalidArgument); what lies behind it is given up. When `chunks`
        fails or the call is cancelled, what came before is kept. Of two writers at once the later one goes on, and the
        earlier gets TakenOver.
        """
        raise NotImplementedError

    async def complete(self, path: str, upload_id: str, size: int, terms: Terms) -> Written:
        """Put an upload of `size` bytes in its place, whole or not at all; what was written, and its ETag.

        Raises InvalidArgument when size or checksum are others, PreconditionFailed or AlreadyExists when the target
        is not what `terms` say; the upload stays, to go on with or to abort.
        """
        raise NotImplementedError

    async def abort(self, path: str, upload_id: str) -> None:
        """Remove what has arrived."""
        raise NotImplementedError

"""The service's side of the remote helper: it starts the helper over a channel, and runs many operations at once."""

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import orjson

from passerelle.runtime.command import Request
from passerelle.runtime.errors import ApiError, ConnectionFailed, DeadlineExceeded
from passerelle.runtime.shipping import from_input, program
from passerelle.runtime.ssh.bootstrap import ALL, MarkedStream, new_nonce, request_lines
from passerelle.runtime.ssh.connection import Connection
from passerelle.storage.access.helper_channel import HelperChannel
from passerelle.storage.access.helper_errors import helper_error
from passerelle.storage.remote.frames import FAILED, MORE, REQUEST

log = logging.getLogger(__name__)

MODULES = (
    "frames",
    "outcome",
    "locking",
    "boundary",
    "registry",
    "opening",
    "changing.targets",
    "rows",
    "reading.listing",
    "reading.content",
    "changing.changes",
    "reading.attributes",
    "reading.checksums",
    "changing.parts",
    "changing.placing",
    "changing.removal",
    "changing.renaming",
    "changing.writing",
    "changing.filling",
    "changing.trees",
    "reading.usage",
    "reading.walking",
    "changing.packing",
    "helper.leading",
    "helper.requests",
    "helper.conversation",
)
"""The modules of `storage/remote` that the helper is made of: each after those that it imports. They register its
operations."""
SOURCE = program(*(f"passerelle.storage.remote.{name}" for name in MODULES))
"""The helper's program."""
# A constant script: its input is its arguments. RHEL 8 without python3 has platform-python.
_SCRIPT = (
    "for python in python3 /usr/libexec/platform-python; do "
    'command -v "$python" >/dev/null 2>&1 && exec "$python" -I -S -B "$@"; done; exit 127'
)


def python_request(source: str) -> Request:
    """A request that runs `source`, sent first on its input, by Python; status 127 where there is no Python."""
    return Request(("sh", "-c", _SCRIPT, "sh", *from_input(source)))


_REQUEST = python_request(SOURCE)


class NoHelper(Exception):
    """No helper can run on this system."""


class _Whole:
    """A call that waits for its complete answer."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pieces: list[bytes] = []

    def add(self, piece: bytes, last: bool) -> None:
        """Add a piece of the answer."""
        self._pieces.append(piece)
        if last and not self.answer.done():
            self.answer.set_result(b"".join(self._pieces))

    def fail(self, error: ApiError) -> None:
        """End the call with an error."""
        if not self.answer.done():
            self.answer.set_exception(error)


class _Stream:
    """A call whose answer is read in pieces; at most `outcome.WINDOW` of them are queued."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[tuple[bytes, bool] | ApiError] = asyncio.Queue()

    def add(self, piece: bytes, last: bool) -> None:
        """Add a piece of the answer."""
        self._pieces.put_nowait((piece, last))

    def fail(self, error: ApiError) -> None:
        """End the answer with an error."""
        self._pieces.put_nowait(error)

    async def next(self, stall: float) -> tuple[bytes, bool]:
        """The next piece, and whether it is the last; DeadlineExceeded when none comes for `stall` seconds."""
        try:
            async with asyncio.timeout(stall):
                piece = await self._pieces.get()
        except TimeoutError:
            raise DeadlineExceeded("Command execution timeout limit exceeded.") from None
        if isinstance(piece, ApiError):
            raise piece
        return piece


class RemoteHelper:
    """A running helper of one connection to `system`."""

    def __init__(self, system: str) -> None:
        self.system = system
        self._channel = HelperChannel(system, self._take, self._fail_pending)
        self._numbers = itertools.cycle(range(1, 1 << 32))
        self._pending: dict[int, _Whole | _Stream] = {}
        self._outgoing = bytearray()

    @classmethod
    async def start(cls, connection: Connection, roots: Sequence[str] = ()) -> "RemoteHelper":
        """Start a helper. Its paths must lie in `roots`, unless that is empty. Raises NoHelper where none can run."""
        helper = cls(connection.system)
        channel = helper._channel
        await connection.start_session(channel)
        nonce = new_nonce()
        try:
            channel.send(request_lines(_REQUEST, nonce) + ALL + SOURCE.encode())
            greeted = await channel.greeted()
        except BaseException:
            channel.close()
            raise
        if not greeted:
            if not connection.open:
                raise _lost(connection.system)
            shell = MarkedStream(nonce)
            shell.take(bytes(channel.noise))
            raise NoHelper(
                "no python3 that works" if shell.begun else "the login shell runs no commands"
            )
        if roots:
            helper._send(0, "confine", {"roots": list(roots)})
        return helper

    @property
    def alive(self) -> bool:
        """Whether its channel is open."""
        return self._channel.open

    async def call(self, operation: str, arguments: dict[str, Any], content: bytes = b"") -> bytes:
        """The result of an operation of the helper; `content` is sent after its arguments.

        Raises FileError or ConnectionFailed. Cancelling the call cancels the work.
        """
        pending = _Whole()
        number = self._begin(pending, operation, arguments, content)
        try:
            return await pending.answer
        finally:
            self._end(number)

    async def stream(
        self, operation: str, arguments: dict[str, Any], stall: float
    ) -> AsyncGenerator[bytes, None]:
        """As `call`, but yields the result in pieces as they arrive, none of them empty. The helper waits for a slow
        reader.

        Raises DeadlineExceeded when nothing comes for `stall` seconds. Closing the iterator cancels the work.
        """
        pending = _Stream()
        number = self._begin(pending, operation, arguments)
        try:
            last = False
            while not last:
                piece, last = await pending.next(stall)
                if piece:
                    yield piece
                if not last:
                    self._send(number, "acknowledge", {})
        finally:
            self._end(number)

    def _begin(
        self,
        pending: "_Whole | _Stream",
        operation: str,
        arguments: dict[str, Any],
        content: bytes = b"",
    ) -> int:
        """Send a request whose answer goes to `pending`; its id."""
        if not self.alive:
            raise _lost(self.system)
        number = next(self._numbers)
        self._pending[number] = pending
        streamed = isinstance(pending, _Stream)
        self._send(number, operation, arguments, streamed=streamed, content=content)
        return number

    def _end(self, number: int) -> None:
        """Cancel the request, unless its answer has come."""
        if self._pending.pop(number, None) is not None and self.alive:
            self._send(number, "cancel", {})

    def _send(
        self,
        number: int,
        operation: str,
        arguments: dict[str, Any],
        streamed: bool = False,
        content: bytes = b"",
    ) -> None:
        request = _encoded([operation, arguments, streamed])
        if not self._outgoing:  # the requests of one round of the event loop are sent together
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing += REQUEST.pack(number, len(request), len(content)) + request
        if content:  # sent by itself, which saves a copy
            self._flush()
            self._channel.send(content)

    def _flush(self) -> None:
        requests, self._outgoing = bytes(self._outgoing), bytearray()
        if requests:
            self._channel.send(requests)

    def _fail_pending(self) -> None:
        for pending in self._pending.values():
            pending.fail(_lost(self.system))
        self._pending.clear()

    def _take(self, number: int, status: int, payload: bytes) -> None:
        pending = self._pending.get(number)
        if pending is None:
            return  # cancelled meanwhile
        if status == FAILED:
            pending.fail(self._error(payload))
        else:
            pending.add(payload, status != MORE)
        if status != MORE:
            del self._pending[number]

    def _error(self, payload: bytes) -> ApiError:
        failure = json.loads(payload)
        if not failure["errno"]:
            log.error("the helper on system %s failed: %s", self.system, failure["step"])
        return helper_error(failure, self.system)


def _encoded(request: list[Any]) -> bytes:
    """In JSON. orjson takes a tenth of the time of json, but takes no half of a surrogate pair, as paths may have."""
    try:
        return orjson.dumps(request)
    except orjson.JSONEncodeError:
        return json.dumps(request).encode()


def _lost(system: str) -> ConnectionFailed:
    return ConnectionFailed(f"The SSH connection to system {system} was lost.", system=system)

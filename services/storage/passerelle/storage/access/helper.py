"""The service's side of the remote helper: starts it over a channel, asks it many things at once."""

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import asyncssh

from passerelle.runtime import background
from passerelle.runtime.command import Request
from passerelle.runtime.errors import ApiError, ConnectionFailed, DeadlineExceeded
from passerelle.runtime.shipping import from_input, program
from passerelle.runtime.ssh.bootstrap import ALL, MarkedStream, new_nonce, request_lines
from passerelle.runtime.ssh.connection import Connection
from passerelle.runtime.ssh.program import LOST
from passerelle.storage.access.answers import Answers, Spoiled
from passerelle.storage.access.helper_errors import helper_error
from passerelle.storage.remote.frames import FAILED, GREETING, MORE, REQUEST

log = logging.getLogger(__name__)

_MODULES = (
    "frames",
    "outcome",
    "boundary",
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
    "changing.filling",
    "changing.trees",
    "reading.usage",
    "reading.walking",
    "changing.packing",
    "helper.operations",
    "helper.conversation",
)
SOURCE = program(*(f"passerelle.storage.remote.{name}" for name in _MODULES))
"""The helper's program."""
# A constant: its only inputs are its own arguments. platform-python is what RHEL 8 has where no python3 is installed.
_SCRIPT = (
    "for python in python3 /usr/libexec/platform-python; do "
    'command -v "$python" >/dev/null 2>&1 && exec "$python" -I -S -B "$@"; done; exit 127'
)
_REQUEST = Request(("sh", "-c", _SCRIPT, "sh", *from_input(SOURCE)))
_READ = 1 << 20


class NoHelper(Exception):
    """No helper can run on this system."""


class _Whole:
    """A call that waits for its whole answer."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pieces: list[bytes] = []

    def take(self, piece: bytes, last: bool) -> None:
        """A piece has come."""
        self._pieces.append(piece)
        if last and not self.answer.done():
            self.answer.set_result(b"".join(self._pieces))

    def fail(self, error: ApiError) -> None:
        """Nothing will come."""
        if not self.answer.done():
            self.answer.set_exception(error)


class _Stream:
    """A call whose answer is taken piece by piece; the helper sends no more than `outcome.WINDOW` ahead."""

    def __init__(self) -> None:
        self._coming: asyncio.Queue[tuple[bytes, bool] | ApiError] = asyncio.Queue()

    def take(self, piece: bytes, last: bool) -> None:
        """A piece has come."""
        self._coming.put_nowait((piece, last))

    def fail(self, error: ApiError) -> None:
        """Nothing more will come."""
        self._coming.put_nowait(error)

    async def next(self, stall: float) -> tuple[bytes, bool]:
        """The next piece, and whether it is the last; DeadlineExceeded when none comes for `stall` seconds."""
        try:
            async with asyncio.timeout(stall):
                piece = await self._coming.get()
        except TimeoutError:
            raise DeadlineExceeded("Command execution timeout limit exceeded.") from None
        if isinstance(piece, ApiError):
            raise piece
        return piece


class RemoteHelper:
    """A running helper of one connection to `system`."""

    def __init__(self, system: str, process: "asyncssh.SSHClientProcess[bytes]") -> None:
        self.system = system
        self._process = process
        self._numbers = itertools.cycle(range(1, 1 << 32))
        self._pending: dict[int, _Whole | _Stream] = {}
        self._outgoing = bytearray()
        self._reader = background.start(self._read(), system=system)

    @classmethod
    async def start(cls, connection: Connection, roots: Sequence[str] = ()) -> "RemoteHelper":
        """Start one whose paths must lie in `roots`, if there are any; raises NoHelper where none can run."""
        process = await connection.start(stderr=asyncssh.DEVNULL)
        nonce = new_nonce()
        try:
            process.stdin.write(request_lines(_REQUEST, nonce) + ALL + SOURCE.encode())
            await process.stdout.readuntil(GREETING)
        except (*LOST, asyncio.IncompleteReadError, asyncssh.Error) as error:
            process.close()
            if not connection.open:
                raise _lost(connection.system) from None
            came = error.partial if isinstance(error, asyncio.IncompleteReadError) else b""
            shell = MarkedStream(nonce)
            shell.take(came)
            raise NoHelper(
                "no python3 that works" if shell.begun else "the login shell runs no commands"
            ) from None
        except BaseException:
            process.close()
            raise
        helper = cls(connection.system, process)
        if roots:
            helper._send(0, "confine", {"roots": list(roots)})
        return helper

    @property
    def alive(self) -> bool:
        """Whether it still answers."""
        return not self._reader.done()

    async def call(self, operation: str, arguments: dict[str, Any]) -> bytes:
        """The result of an operation of `remote/helper/operations.py`; raises FileError or ConnectionFailed.

        Cancelling the call cancels the work.
        """
        pending = _Whole()
        with self._asked(pending, operation, arguments):
            return await pending.answer

    async def stream(
        self, operation: str, arguments: dict[str, Any], stall: float
    ) -> AsyncGenerator[bytes, None]:
        """As `call`, but piece by piece as they come, none of them empty; the helper waits for a slow reader.

        DeadlineExceeded when nothing comes for `stall` seconds. Closing the iterator cancels the work.
        """
        pending = _Stream()
        with self._asked(pending, operation, arguments) as number:
            last = False
            while not last:
                piece, last = await pending.next(stall)
                if piece:
                    yield piece
                if not last:
                    self._send(number, "taken", {})

    @contextmanager
    def _asked(
        self, pending: "_Whole | _Stream", operation: str, arguments: dict[str, Any]
    ) -> Iterator[int]:
        """A question whose answer goes to `pending`; it is given up when the block ends before the answer."""
        if not self.alive:
            raise _lost(self.system)
        number = next(self._numbers)
        self._pending[number] = pending
        self._send(number, operation, arguments, streamed=isinstance(pending, _Stream))
        try:
            yield number
        finally:
            if self._pending.pop(number, None) is not None and self.alive:
                self._send(number, "cancel", {})

    def _send(
        self, number: int, operation: str, arguments: dict[str, Any], streamed: bool = False
    ) -> None:
        question = json.dumps([operation, arguments, streamed]).encode()
        if not self._outgoing:  # what is asked in one round of the event loop travels in one packet
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing += REQUEST.pack(number, len(question)) + question

    def _flush(self) -> None:
        questions, self._outgoing = bytes(self._outgoing), bytearray()
        with suppress(OSError):  # a lost channel: the reader notices, and fails what is pending
            self._process.stdin.write(questions)

    async def _read(self) -> None:
        answers = Answers()
        try:
            while data := await self._process.stdout.read(_READ):
                for number, status, payload in answers.take(data):
                    self._take(number, status, payload)
        except (*LOST, OSError, asyncssh.Error):
            log.debug("the helper's channel to system %s broke", self.system)
        except Spoiled:
            log.warning("system %s: something printed into an answer of the helper", self.system)
        finally:
            for pending in self._pending.values():
                pending.fail(_lost(self.system))
            self._pending.clear()
            self._process.close()

    def _take(self, number: int, status: int, payload: bytes) -> None:
        pending = self._pending.get(number)
        if pending is None:
            return  # given up meanwhile
        if status != MORE:
            del self._pending[number]
        if status == FAILED:
            pending.fail(self._error(payload))
        else:
            pending.take(payload, status != MORE)

    def _error(self, payload: bytes) -> ApiError:
        said = json.loads(payload)
        if not said["errno"]:
            log.error("the helper on system %s failed: %s", self.system, said["step"])
        return helper_error(said, self.system)


def _lost(system: str) -> ConnectionFailed:
    return ConnectionFailed(f"The SSH connection to system {system} was lost.", system=system)

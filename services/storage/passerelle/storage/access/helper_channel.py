"""The channel of a remote helper: its greeting, and then its answers, as asyncssh receives them."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

import asyncssh

from passerelle.storage.access.answers import Answers, Spoiled
from passerelle.storage.remote.frames import GREETING

log = logging.getLogger(__name__)

_MOST_NOISE = 1 << 20  # bytes that may precede the greeting


class HelperChannel(asyncssh.SSHClientSession[bytes]):
    """Passes each answer (id, status and payload) to `answered` when its last byte is received.

    No task reads the channel, so no task has to be woken for an answer. Reading is never paused: a helper sends only
    requested answers, and of a streamed answer at most `outcome.WINDOW` pieces that were not acknowledged.
    `lost` is called once, when the channel ends or when `close` is called; there are no answers after it.
    """

    def __init__(
        self, system: str, answered: Callable[[int, int, bytes], None], lost: Callable[[], None]
    ) -> None:
        self.open = True
        """Whether answers can still be received."""
        self.noise = bytearray()
        """What was received before the greeting: what login scripts printed."""
        self._system = system
        self._answered = answered
        self._lost = lost
        self._answers = Answers()
        self._greeted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def greeted(self) -> bool:
        """Wait for the greeting; False when the channel ends before it, or when too much noise precedes it."""
        return await self._greeted

    def send(self, data: bytes) -> None:
        """Send `data` to the helper. Does nothing when the channel is lost, which `lost` reports."""
        with suppress(OSError):
            self._channel.write(data)

    def close(self) -> None:
        """Close the channel, which ends the helper and its operations. Data not yet sent is discarded."""
        self._end()
        self._channel.abort()

    def connection_made(self, chan: "asyncssh.SSHClientChannel[bytes]") -> None:
        """Called by asyncssh when the channel is open."""
        self._channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Called by asyncssh with data of stdout (`datatype` is None), or of stderr, which is ignored."""
        if datatype is not None or not self.open:
            return
        try:
            for answer in self._answers.take(data if self._greeted.done() else self._greet(data)):
                self._answered(*answer)
        except Spoiled:
            log.warning("system %s: another program printed into the helper's output", self._system)
            self.close()
        except Exception:  # otherwise asyncssh would close the connection, with all its channels
            log.exception("system %s: the helper sent an invalid answer", self._system)
            self.close()

    def _greet(self, data: bytes) -> bytes:
        """Look for the greeting; returns the data behind it."""
        searched = max(0, len(self.noise) - len(GREETING) + 1)
        self.noise += data
        start = self.noise.find(GREETING, searched)
        if start < 0:
            if len(self.noise) > _MOST_NOISE:
                self.close()
            return b""
        rest = bytes(self.noise[start + len(GREETING) :])
        del self.noise[start:]
        self._greeted.set_result(True)
        return rest

    def eof_received(self) -> bool:
        """Called by asyncssh at the end of stdout, after which there are no answers."""
        self.close()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncssh when the channel is closed; `exc` says why its connection was, if it was."""
        if exc is not None:
            log.debug("the helper's channel to system %s broke", self._system)
        self._end()

    def _end(self) -> None:
        if not self.open:
            return
        self.open = False
        if not self._greeted.done():
            self._greeted.set_result(False)
        self._lost()

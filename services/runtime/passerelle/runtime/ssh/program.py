"""A program on a system: what it prints, told from all else; it never outlives whoever started it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import asyncssh

from passerelle.runtime.command import Request
from passerelle.runtime.errors import BackendError, ConnectionFailed
from passerelle.runtime.ssh.bootstrap import FRAMES, NONE, Marked, frame, new_nonce, request_lines

log = logging.getLogger(__name__)

LOST = (asyncssh.ConnectionLost, asyncssh.DisconnectError, BrokenPipeError, ConnectionError)
"""What asyncssh raises when the connection under a channel goes away."""

STOPPING = 3.0
"""Seconds in which a program that was told to end has ended; the system ends it by force after one."""
_LEAVING = 0.2  # seconds in which the shell around an ended program ends, too
# asyncssh (2.24) gives the sender a whole window again whenever it hands out a part of what has come. Only who always
# takes all there is has no more than two windows waiting.
_ALL = 1 << 30
_FRAME = 1 << 18  # bytes
_MOST_WORDS = 200  # characters of what start-up files said, in an error


class Program:
    """One program on a channel of its own."""

    def __init__(self, process: "asyncssh.SSHClientProcess[bytes]", system: str) -> None:
        self._process = process
        self._system = system
        self._nonce = new_nonce()
        self._stdout, self._stderr = Marked(self._nonce), Marked(f"{self._nonce}2")
        self._first = b""
        self._hearing: asyncio.Task[bytes] | None = None

    @property
    def begun(self) -> bool:
        """Whether the login shell has come to run our line."""
        return self._stdout.begun

    @property
    def ended(self) -> bool:
        """Whether it has, and all its output has come."""
        return self._stdout.status is not None

    @property
    def joined(self) -> bool:
        """Whether what it said on stderr came elsewhere, such as on stdout: start-up files can redirect it."""
        return not self._stderr.begun

    def ask(self, request: Request, most_words: int = _ALL) -> None:
        """Say what to run; it does not begin before `go`. So many bytes are kept of what it says on stderr.

        That is read from now on: start-up files that say more than the channel holds would else never end.
        """
        self._hearing = asyncio.create_task(self._hear(most_words))
        self._write(request_lines(request, self._nonce))

    def go(self, how: bytes = NONE) -> None:
        """Let it begin; its input is empty, or comes by `write`."""
        self._write(how)

    async def ready(self) -> None:
        """Wait until the login shell has read what to run; BackendError when it does not come to that."""
        while not self.begun:
            data = await self._next(self._process.stdout)
            self._first = self._stdout.take(data)
            if not data:
                await self._demand_begun()

    async def write(self, piece: bytes) -> None:
        """A piece of its input; raises one of LOST when nothing is read any more."""
        if piece:
            self._process.stdin.write(frame(piece))
            await self._process.stdin.drain()

    def end_input(self) -> None:
        """No more input comes."""
        self._write(frame(b""))

    async def feed(self, data: bytes) -> None:
        """All of its input; what it does not want to read is no error."""
        with suppress(*LOST, OSError):
            for at in range(0, len(data), _FRAME):
                await self.write(data[at : at + _FRAME])
        self.end_input()

    async def printed(self) -> AsyncIterator[bytes]:
        """What it prints, as it comes, to the end."""
        if self._first:
            yield self._first
        while self._stdout.status is None:
            data = await self._next(self._process.stdout)
            if not data:
                await self._demand_begun()
                return
            if own := self._stdout.take(data):
                yield own

    async def said(self) -> bytes:
        """What it says on stderr, to the end."""
        return await asyncio.shield(self._hearing) if self._hearing else b""

    async def _hear(self, most: int) -> bytes:
        heard = bytearray()
        while self._stderr.status is None and (data := await self._next(self._process.stderr)):
            heard += self._stderr.take(data)[: most - len(heard)]
        if self._stderr.noise:
            log.debug("system %s: start-up files said %r", self._system, self._stderr.noise)
        return bytes(heard)

    async def status(self) -> int:
        """Its exit status, 128 + n when signal n ended it. ConnectionFailed or BackendError when nobody knows."""
        status = self._stdout.status
        if status is None:
            await self._demand_end()
            raise BackendError(f"The program was ended on system {self._system}.")
        return status if status < 256 else status - 128  # as ksh counts

    def stop(self) -> None:
        """Tell it to end: the end of the channel's input is what makes the system end it."""
        with suppress(*LOST, OSError, asyncssh.Error):
            self._process.stdin.write_eof()

    async def close(self) -> None:
        """Return when it has ended and nothing of it is left, or when the system does not answer any more.

        What start-up files left running may hold the channel open; it is not waited for.
        """
        await abandoned(self._hearing)
        if self.ended:
            await self._closed(_LEAVING)
        else:
            self.stop()
            if not await self._closed(STOPPING):
                with suppress(OSError, asyncssh.Error):
                    self._process.kill()  # a login shell that never came to our line
        self._process.close()

    async def _closed(self, seconds: float) -> bool:
        """Whether the system closes the channel in that time, which it does when nothing holds it any more."""
        try:
            async with asyncio.timeout(seconds):
                with suppress(*LOST, OSError, asyncssh.Error):
                    await asyncio.gather(
                        _drained(self._process.stdout), _drained(self._process.stderr)
                    )
                    await self._process.wait_closed()
                return True
        except TimeoutError:
            return False

    async def _demand_end(self) -> None:
        """ConnectionFailed, unless the system says that the login shell has ended."""
        with suppress(*LOST, asyncssh.Error, OSError):
            await self._process.wait_closed()
        if self._process.exit_status is None:
            raise ConnectionFailed(
                f"The SSH connection to system {self._system} was lost.", system=self._system
            )

    async def _demand_begun(self) -> None:
        if self.begun:
            return
        await self._demand_end()
        await self.said()
        words = self._stdout.left() + self._stderr.left()
        told = " ".join(words.decode(errors="replace").split())[:_MOST_WORDS]
        log.warning("system %s: the login shell did not run a command: %s", self._system, told)
        raise BackendError(
            f"System {self._system}: the login shell of this account, or a start-up file of it, "
            f"ended before the command could run{': ' + told if told else '.'}"
        )

    async def _next(self, stream: Any) -> bytes:
        try:
            data: bytes = await stream.read(_ALL)
        except (*LOST, asyncssh.Error, OSError):
            return b""  # whoever asks for the status finds out
        return data

    def _write(self, data: bytes) -> None:
        with suppress(*LOST, OSError):  # who reads will find out
            self._process.stdin.write(data)


async def outcome(
    program: Program,
    request: Request,
    stdin: bytes,
    *,
    at_once: bool,
    greeted: Callable[[str], bool] | None = None,
) -> tuple[int, bytes, bytes]:
    """Run it to its end: exit status, stdout and stderr.

    Unless it may begin `at_once`, it begins only when the login shell has answered, while somebody waits for it. With
    `greeted`, which is told the lines that it prints up to the one for which it says yes, its input follows that line.
    """
    program.ask(request)
    feeding: asyncio.Task[None] | None = None
    stdout, told = bytearray(), 0
    try:
        if not at_once:
            await program.ready()
        program.go(FRAMES if stdin else NONE)
        if stdin and greeted is None:
            feeding = asyncio.create_task(program.feed(stdin))
        async for piece in program.printed():
            stdout += piece
            while greeted and feeding is None and (end := stdout.find(b"\n", told)) >= 0:
                if greeted(stdout[told:end].decode(errors="replace")):
                    feeding = asyncio.create_task(program.feed(stdin))
                told = end + 1
        status, words = await program.status(), await program.said()
        return status, bytes(stdout), bytes(stdout[told:]) if program.joined else words
    finally:
        await abandoned(feeding)


async def abandoned(*tasks: "asyncio.Task[Any] | None") -> None:
    """Cancel what nobody waits for any more."""
    left = [task for task in tasks if task is not None]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def finished(task: "asyncio.Task[None]") -> None:
    """Wait for its end, whatever becomes of the caller meanwhile."""
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


async def _drained(stream: Any) -> None:
    while await stream.read(_ALL):
        pass

"""Runs a program on a channel: separates its output from that of start-up files, and ends it with its request."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import asyncssh

from passerelle.runtime.command import Request
from passerelle.runtime.errors import BackendError, ConnectionFailed
from passerelle.runtime.ssh.bootstrap import (
    FRAMES,
    NONE,
    MarkedStream,
    frame,
    new_nonce,
    request_lines,
    whole_input,
)

log = logging.getLogger(__name__)

LOST = (asyncssh.ConnectionLost, asyncssh.DisconnectError, BrokenPipeError, ConnectionError)
"""What asyncssh raises when the connection under a channel goes away."""

STOPPING = 3.0
"""Seconds in which a program ends after it was told to; the system kills it after one."""
_LEAVING = 0.2  # seconds in which the shell around an ended program ends, too
# asyncssh (2.24) grants the sender a whole window whenever a part of the received data is read. With reads of
# everything that is there, no more than two windows are buffered.
_ALL = 1 << 30
_MAX_NOISE = 200  # characters of what start-up files printed, in an error


class Program:
    """One program on a channel of its own."""

    def __init__(self, process: "asyncssh.SSHClientProcess[bytes]", system: str) -> None:
        self._process = process
        self._system = system
        self._nonce = new_nonce()
        self._stdout, self._stderr = MarkedStream(self._nonce), MarkedStream(f"{self._nonce}2")
        self._first = b""
        self._reading_stderr: asyncio.Task[bytes] | None = None

    @property
    def begun(self) -> bool:
        """Whether the login shell has run our line."""
        return self._stdout.begun

    @property
    def ended(self) -> bool:
        """Whether the program has ended and all its output has been read."""
        return self._stdout.status is not None

    @property
    def joined(self) -> bool:
        """Whether its stderr went elsewhere, such as to stdout: start-up files can redirect it."""
        return not self._stderr.begun

    def send(self, request: Request, max_stderr: int = _ALL) -> None:
        """Send what to run, which starts with `go`. Of its stderr at most `max_stderr` bytes are kept.

        Stderr is read from now on: start-up files that print more than the channel buffers would never end otherwise.
        """
        self._reading_stderr = asyncio.create_task(self._read_stderr(max_stderr))
        self._write(request_lines(request, self._nonce))

    def go(self, how: bytes = NONE) -> None:
        """Start it; `how` says whether its input is empty or is sent by `write`."""
        self._write(how)

    async def ready(self) -> None:
        """Wait until the login shell has read what to run; raises BackendError when it does not."""
        while not self.begun:
            data = await self._next(self._process.stdout)
            self._first = self._stdout.take(data)
            if not data:
                await self._require_begun()

    def write_line(self, data: bytes) -> None:
        """Send bytes as they are, to a program that reads the channel's input itself."""
        self._write(data)

    async def write(self, piece: bytes) -> None:
        """Send a piece of its input; raises one of LOST when nothing is read any more."""
        if piece:
            self._process.stdin.write(frame(piece))
            await self._process.stdin.drain()

    def end_input(self) -> None:
        """End its input."""
        self._write(frame(b""))

    async def feed(self, data: bytes) -> None:
        """Send all of its input, and end it. It is no error when the program does not read it."""
        with suppress(*LOST, OSError):
            for part in whole_input(data):
                self._process.stdin.write(part)
                await self._process.stdin.drain()

    async def output(self) -> AsyncIterator[bytes]:
        """Its stdout, piece by piece, to the end."""
        if self._first:
            yield self._first
        while self._stdout.status is None:
            data = await self._next(self._process.stdout)
            if not data:
                await self._require_begun()
                return
            if own := self._stdout.take(data):
                yield own

    async def stderr(self) -> bytes:
        """Its stderr, read to the end."""
        return await asyncio.shield(self._reading_stderr) if self._reading_stderr else b""

    async def _read_stderr(self, most: int) -> bytes:
        text = bytearray()
        while self._stderr.status is None and (data := await self._next(self._process.stderr)):
            text += self._stderr.take(data)[: most - len(text)]
        if self._stderr.noise:
            log.debug("system %s: start-up files said %r", self._system, self._stderr.noise)
        return bytes(text)

    async def status(self) -> int:
        """Its exit status, 128 + n after signal n; raises ConnectionFailed or BackendError when it is unknown."""
        status = self._stdout.status
        if status is None:
            await self._require_end()
            raise BackendError(f"The program was ended on system {self._system}.")
        return status if status < 256 else status - 128  # as ksh counts

    def stop(self) -> None:
        """Tell it to end, by the end of the channel's input."""
        with suppress(*LOST, OSError, asyncssh.Error):
            self._process.stdin.write_eof()

    async def close(self) -> None:
        """End it, and wait until nothing of it is left or the system does not answer any more.

        Processes that start-up files left running may keep the channel open; they are not waited for.
        """
        await abandoned(self._reading_stderr)
        if self.ended:
            await self._closed(_LEAVING)
        else:
            self.stop()
            if not await self._closed(STOPPING):
                with suppress(OSError, asyncssh.Error):
                    self._process.kill()  # a login shell that never ran our line
        self._process.close()

    async def _closed(self, seconds: float) -> bool:
        """Whether the system closes the channel within that time, as it does when no process has it open any more."""
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

    async def _require_end(self) -> None:
        """Raise ConnectionFailed, unless the system reports that the login shell has ended."""
        with suppress(*LOST, asyncssh.Error, OSError):
            await self._process.wait_closed()
        if self._process.exit_status is None:
            raise ConnectionFailed(
                f"The SSH connection to system {self._system} was lost.", system=self._system
            )

    async def _require_begun(self) -> None:
        if self.begun:
            return
        await self._require_end()
        await self.stderr()
        noise = self._stdout.left() + self._stderr.left()
        text = " ".join(noise.decode(errors="replace").split())[:_MAX_NOISE]
        log.warning("system %s: the login shell did not run a command: %s", self._system, text)
        raise BackendError(
            f"System {self._system}: the login shell of this account, or a start-up file of it, "
            f"ended before the command could run{': ' + text if text else '.'}"
        )

    async def _next(self, stream: Any) -> bytes:
        try:
            data: bytes = await stream.read(_ALL)
        except (*LOST, asyncssh.Error, OSError):
            return b""  # `status` raises the error
        return data

    def _write(self, data: bytes) -> None:
        with suppress(*LOST, OSError):  # reading raises the error
            self._process.stdin.write(data)


async def outcome(
    program: Program,
    request: Request,
    stdin: bytes,
    *,
    at_once: bool,
    greeted: Callable[[str], bool] | None = None,
    seconds_after_input: float | None = None,
) -> tuple[int, bytes, bytes]:
    """Run it to its end; returns its exit status, stdout and stderr.

    Unless `at_once`, it starts only when the login shell has answered, and so never after its request was cancelled.
    `greeted` is called with each line that it prints, until one for which it returns true; then the input is sent.
    When it has not ended so many `seconds_after_input`, it is told to.
    """
    program.send(request)
    feeding: asyncio.Task[None] | None = None
    stdout, line_start = bytearray(), 0
    try:
        if not at_once:
            await program.ready()
        program.go(FRAMES if stdin else NONE)
        if stdin and greeted is None:
            feeding = asyncio.create_task(_fed(program, stdin, seconds_after_input))
        async for piece in program.output():
            stdout += piece
            while greeted and feeding is None and (end := stdout.find(b"\n", line_start)) >= 0:
                if greeted(stdout[line_start:end].decode(errors="replace")):
                    feeding = asyncio.create_task(_fed(program, stdin, seconds_after_input))
                line_start = end + 1
        status, stderr = await program.status(), await program.stderr()
        return status, bytes(stdout), bytes(stdout[line_start:]) if program.joined else stderr
    finally:
        await abandoned(feeding)


async def _fed(program: Program, stdin: bytes, seconds_after: float | None) -> None:
    """Send a program all of its input, and tell it to end so many seconds later, if any."""
    await program.feed(stdin)
    if seconds_after is not None:
        await asyncio.sleep(seconds_after)
        program.stop()


async def abandoned(*tasks: "asyncio.Task[Any] | None") -> None:
    """Cancel tasks that nobody waits for any more."""
    remaining = [task for task in tasks if task is not None]
    for task in remaining:
        task.cancel()
    await asyncio.gather(*remaining, return_exceptions=True)


async def _drained(stream: Any) -> None:
    while await stream.read(_ALL):
        pass

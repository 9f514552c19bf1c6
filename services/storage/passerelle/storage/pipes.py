"""Programs on a system whose output is read, or whose input is written, while they run: any amount, constant memory."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import asyncssh

from passerelle.runtime.command import Output
from passerelle.runtime.errors import ConnectionFailed, DeadlineExceeded
from passerelle.runtime.ssh.connection import LOST

T = TypeVar("T")

PIECE = 1 << 18
"""Bytes that are moved at once."""
# asyncssh (2.24) gives the sender a whole window again whenever it hands out a part of what has come. Only who always
# takes all there is has no more than two windows waiting: with less at a time, a slow reader's gateway held it all.
_ALL = 1 << 30
_MOST_WORDS = 32 << 10  # bytes of stderr that are kept; the rest is read and forgotten


class Pipe:
    """A running program. asyncssh's window bounds what is read ahead, its high-water mark what waits to be written."""

    def __init__(
        self, process: "asyncssh.SSHClientProcess[bytes]", system: str, stall: float
    ) -> None:
        self._process = process
        self._system = system
        self._stall = stall
        self._words = asyncio.create_task(self._heard())

    @classmethod
    @asynccontextmanager
    async def of(
        cls, process: "asyncssh.SSHClientProcess[bytes]", system: str, stall: float
    ) -> AsyncIterator["Pipe"]:
        """The pipe of a process on `system`, for the length of the block; no step may take longer than `stall` s."""
        pipe = cls(process, system, stall)
        try:
            yield pipe
        finally:
            pipe._words.cancel()
            await asyncio.gather(pipe._words, return_exceptions=True)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """What it prints, in pieces of PIECE bytes and a last one, which may be empty.

        DeadlineExceeded when it prints nothing for too long, ConnectionFailed when the connection is lost.
        """
        held = bytearray()
        self._process.stdin.write_eof()
        while data := await self._step(self._process.stdout.read(_ALL)):
            held += data
            while len(held) >= PIECE:
                piece = bytes(memoryview(held)[:PIECE])
                del held[:PIECE]
                yield piece
        yield bytes(held)

    async def feed(self, pieces: AsyncIterator[bytes]) -> None:
        """Write all pieces to its input and end it; a program that reads no more ends the writing, too.

        DeadlineExceeded when nothing comes, or nothing is taken, for too long.
        """
        async for piece in self._arriving(pieces):
            if not await self._taken(piece):
                return  # `ended` tells why
        with suppress(*LOST, OSError):
            self._process.stdin.write_eof()

    async def ended(self, limit: float | None = None) -> Output:
        """What it left, when it has ended; ConnectionFailed when nobody knows.

        DeadlineExceeded when it takes more than `limit` seconds, else the time of a stalled step.
        """
        words = await self._step(asyncio.shield(self._words), limit)
        await self._step(self._process.wait_closed(), limit)
        if self._process.exit_status is None:
            raise self._lost()
        return Output(self._process.exit_status, "", words)

    async def _taken(self, piece: bytes) -> bool:
        try:
            self._process.stdin.write(piece)
            await self._step(self._process.stdin.drain())
        except (*LOST, OSError):
            return False
        return True

    async def _arriving(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        while True:
            try:
                async with asyncio.timeout(self._stall):
                    piece = await anext(pieces, None)
            except TimeoutError:
                raise DeadlineExceeded("No more content arrived in time.") from None
            if piece is None:
                return
            yield piece

    async def _step(self, step: Awaitable[T], limit: float | None = None) -> T:
        seconds = limit or self._stall
        try:
            async with asyncio.timeout(seconds):
                return await step
        except TimeoutError:
            told = f"The program on system {self._system} did nothing for {seconds:.0f} s."
            raise DeadlineExceeded(told) from None

    async def _heard(self) -> str:
        heard = bytearray()
        stderr: Any = self._process.stderr
        try:
            while data := await stderr.read(_MOST_WORDS):
                heard += data[: _MOST_WORDS - len(heard)]
        except (*LOST, OSError, asyncssh.Error):
            pass  # there will be no more; `ended` finds no exit status
        return heard.decode(errors="replace")

    def _lost(self) -> ConnectionFailed:
        return ConnectionFailed(
            f"The SSH connection to system {self._system} was lost.", system=self._system
        )

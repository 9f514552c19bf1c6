"""Programs on a system whose output is read, or whose input is written, while they run, in constant memory."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import TypeVar

from passerelle.runtime.command import Output
from passerelle.runtime.errors import DeadlineExceeded
from passerelle.runtime.ssh.program import LOST, Program

T = TypeVar("T")

PIECE = 1 << 18
"""The size of a piece, in bytes."""


class ProgramStream:
    """A running program on `system`; no step may take longer than `stall` seconds.

    asyncssh's window bounds the data that is read ahead, its high-water mark the data that waits to be written.
    """

    def __init__(self, program: Program, system: str, stall: float) -> None:
        self._program = program
        self._system = system
        self._stall = stall
        self._printed = program.output()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Its output, in pieces of PIECE bytes and a last one, which may be empty.

        Raises DeadlineExceeded when it prints nothing for too long, ConnectionFailed when the connection is lost.
        """
        held = bytearray()
        self._program.end_input()
        while data := await self._step(self._next()):
            held += data
            while len(held) >= PIECE:
                piece = bytes(memoryview(held)[:PIECE])
                del held[:PIECE]
                yield piece
        yield bytes(held)

    async def feed(self, pieces: AsyncIterator[bytes]) -> None:
        """Write all pieces to its input and end the input. A program that stops reading ends the writing.

        Raises DeadlineExceeded when no piece arrives, or none is read, for too long.
        """
        async for piece in self._arriving(pieces):
            if not await self._taken(piece):
                return  # `ended` has the reason
        self._program.end_input()

    async def ended(self, limit: float | None = None) -> Output:
        """Wait for its end; its status and the output that was not read.

        Raises ConnectionFailed when the status is lost, DeadlineExceeded after `limit` seconds, or after the time of a
        stalled step without a limit.
        """
        while await self._step(self._next(), limit):
            pass  # the output is not needed
        words = await self._step(self._program.stderr(), limit)
        return Output(await self._program.status(), "", words.decode(errors="replace"))

    async def _next(self) -> bytes:
        return await anext(self._printed, b"")

    async def _taken(self, piece: bytes) -> bool:
        try:
            await self._step(self._program.write(piece))
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
            raise DeadlineExceeded(
                f"The program on system {self._system} did nothing for {seconds:.0f} s."
            ) from None

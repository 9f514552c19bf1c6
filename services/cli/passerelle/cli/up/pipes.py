"""Pipes that child processes write to and `passerelle up` reads."""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# Seconds for what an ended child wrote; what it started may keep its pipes open for ever.
_LAST_WORDS = 0.5


class _Reader(asyncio.Protocol):
    def __init__(self, take: Callable[[bytes], object]) -> None:
        self.take = take
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.take(data)

    def connection_lost(self, _: Exception | None) -> None:
        self.ended.set()


@dataclass(frozen=True)
class Pipe:
    """One pipe: the descriptor that a child writes to, to be closed here once the child has it."""

    writing: int
    transport: asyncio.ReadTransport
    ended: asyncio.Event


async def opened(take: Callable[[bytes], object]) -> Pipe:
    """A new pipe; what is written to it is given to `take`, which must not wait."""
    reading, writing = os.pipe()
    transport, reader = await asyncio.get_running_loop().connect_read_pipe(
        lambda: _Reader(take), os.fdopen(reading, "rb", buffering=0)
    )
    return Pipe(writing, transport, reader.ended)


async def read_to_the_end(pipes: Sequence[Pipe]) -> None:
    """Return when all that ended children wrote has been taken, and close the pipes."""
    ends = [asyncio.create_task(pipe.ended.wait()) for pipe in pipes]
    if ends:
        await asyncio.wait(ends, timeout=_LAST_WORDS)
    for pipe, end in zip(pipes, ends, strict=True):
        end.cancel()
        pipe.transport.close()

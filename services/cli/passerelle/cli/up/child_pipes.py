"""Pipes that child processes write to and `passerelle up` reads."""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# Seconds to read what an ended child wrote; processes that it started may keep its pipes open for ever.
_DRAIN_SECONDS = 0.5


class _Reader(asyncio.Protocol):
    def __init__(self, receive: Callable[[bytes], object]) -> None:
        self.receive = receive
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.receive(data)

    def connection_lost(self, _: Exception | None) -> None:
        self.ended.set()


@dataclass(frozen=True)
class Pipe:
    """One pipe. `writing` is the descriptor for the child, to be closed here once the child has it."""

    writing: int
    transport: asyncio.ReadTransport
    ended: asyncio.Event


async def open_pipe(receive: Callable[[bytes], object]) -> Pipe:
    """A new pipe; whatever is written to it is passed to `receive`, which must not block."""
    reading, writing = os.pipe()
    transport, reader = await asyncio.get_running_loop().connect_read_pipe(
        lambda: _Reader(receive), os.fdopen(reading, "rb", buffering=0)
    )
    return Pipe(writing, transport, reader.ended)


async def read_to_the_end(pipes: Sequence[Pipe]) -> None:
    """Read all that ended children wrote, and close the pipes."""
    waits = [asyncio.create_task(pipe.ended.wait()) for pipe in pipes]
    if waits:
        await asyncio.wait(waits, timeout=_DRAIN_SECONDS)
    for pipe, wait in zip(pipes, waits, strict=True):
        wait.cancel()
        pipe.transport.close()

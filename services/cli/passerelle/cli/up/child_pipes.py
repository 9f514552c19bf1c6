"""Pipes that child processes write to and `passerelle up` reads."""

import asyncio
import fcntl
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

# Seconds to read what an ended child wrote; processes that it started may keep its pipes open for ever.
_DRAIN_SECONDS = 0.5
# Between two reads of a pipe. A service writes a line for each call; to wake for each line would cost as much as some
# calls do. A pipe of a mebibyte holds what is written meanwhile, up to 20 MB a second.
_PAUSE_SECONDS = 0.05
_CAPACITY = 1 << 20  # bytes; as much as Linux lets anyone have (fs.pipe-max-size, pipe(7))


class _Reader(asyncio.Protocol):
    """Passes on what it reads, and pauses after each read."""

    def __init__(self, receive: Callable[[bytes], object]) -> None:
        self.receive = receive
        self.ended = asyncio.Event()
        self._transport: asyncio.ReadTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.ReadTransport, transport)

    def data_received(self, data: bytes) -> None:
        self.receive(data)
        self._transport.pause_reading()
        loop = asyncio.get_running_loop()
        loop.call_later(_PAUSE_SECONDS, self._transport.resume_reading)

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
    with suppress(OSError):  # the account has many pipes already: this one keeps its usual size
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _CAPACITY)
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

"""Accepts the gateway's connections while Envoy restarts, so that no client is refused.

Between the end of one Envoy and the start of the next, `passerelle up` listens on its port itself, which SO_REUSEPORT
(Envoy sets it too) allows. What clients sent meanwhile is forwarded to the new Envoy.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path

_PAUSE = 0.02  # seconds between two checks for the new server
_MOST_WAITING = 256  # connections; more are closed
_CHUNK = 64 << 10  # bytes
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTEN = "0A"  # TCP_LISTEN, include/net/tcp_states.h


class StandbyListener:
    """Listens in place of the server at `address` (host:port), which must listen with SO_REUSEPORT."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._listening: asyncio.Task[None] | None = None
        self._waiting = 0

    def take_over(self) -> None:
        """Listen until the server is back; call it as soon as the server has ended."""
        if self._listening is None or self._listening.done():
            self._listening = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Stop listening."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    async def _listen(self) -> None:
        back = asyncio.Event()

        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._hold(back.wait(), reader, writer)

        server = await asyncio.start_server(
            hold, self._host, self._port, reuse_port=True, backlog=_MOST_WAITING
        )
        own = len(server.sockets)
        try:
            while _listeners(self._port) <= own:  # noqa: ASYNC110  # the kernel sets no event
                await asyncio.sleep(_PAUSE)
        finally:
            server.close()
            back.set()

    async def _hold(
        self, back: Awaitable[object], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Keep one connection until the server is back, then forward its bytes in both directions."""
        if self._waiting >= _MOST_WAITING:
            writer.close()
            return
        self._waiting += 1
        try:
            await back
        finally:
            self._waiting -= 1
        with suppress(OSError):
            answers, requests = await asyncio.open_connection(self._host, self._port)
            await asyncio.gather(_forward(reader, requests), _forward(answers, writer))
        writer.close()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy a stream to its end, and then close the other side."""
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


def _listeners(port: int) -> int:
    """How many sockets of this network namespace listen on `port` (proc_net_tcp(5))."""
    tables = (table.read_text() for table in _TABLES if table.exists())
    rows = (line.split() for table in tables for line in table.splitlines())
    return sum(row[3] == _LISTEN and row[1].endswith(f":{port:04X}") for row in rows)

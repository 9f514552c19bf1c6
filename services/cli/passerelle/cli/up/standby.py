"""Taking the gateway's connections while Envoy is away, so that no client meets a closed door.

Between the death of one Envoy and the start of the next we listen on its port ourselves, which SO_REUSEPORT (Envoy sets
it too) allows. What came in meanwhile is handed on to the new Envoy, byte by byte.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path

_PAUSE = 0.02  # seconds between two looks for the new server
_MOST_WAITING = 256  # connections; more are closed
_CHUNK = 64 << 10  # bytes
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTEN = "0A"  # TCP_LISTEN, include/net/tcp_states.h


class Standby:
    """A deputy for the server at `address` (host:port), which must listen with SO_REUSEPORT."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._standing_in: asyncio.Task[None] | None = None
        self._waiting = 0

    def take_over(self) -> None:
        """Listen until the server is back; to be called as soon as it has ended."""
        if self._standing_in is None or self._standing_in.done():
            self._standing_in = asyncio.create_task(self._stand_in())

    async def close(self) -> None:
        """Listen no more."""
        if self._standing_in is not None:
            self._standing_in.cancel()
            await asyncio.gather(self._standing_in, return_exceptions=True)

    async def _stand_in(self) -> None:
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
        """Keep one connection until the server is back, then hand its bytes to and fro."""
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
            await asyncio.gather(_pass_on(reader, requests), _pass_on(answers, writer))
        writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy to the end of the stream, and end the other side's stream then."""
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

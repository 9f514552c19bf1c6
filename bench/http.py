"""A closed-loop HTTP load generator that costs little: raw sockets, keep-alive, no client library in the hot path."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

Request = Callable[[int], bytes]
"""Makes the n-th request's bytes."""


@dataclass
class Measured:
    """What a run of calls gave: latencies in seconds, sorted; statuses or error names; wall-clock seconds."""

    latencies: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Calls per second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def quantile(self, part: float) -> float:
        """The latency below which `part` of the calls stayed, in milliseconds."""
        index = min(len(self.latencies) - 1, int(len(self.latencies) * part))
        return self.latencies[index] * 1000 if self.latencies else float("nan")

    @property
    def errors(self) -> dict[str, int]:
        """Everything that was not a success, counted."""
        return {what: n for what, n in self.outcomes.items() if not what.startswith("2")}


class Client:
    """One keep-alive HTTP/1.1 connection."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, request: bytes) -> tuple[str, bytes]:
        """Send one request; its status and body."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=1 << 22)
        reader, writer = self._streams
        writer.write(request)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        lowered = head.lower()
        body = await _body(reader, lowered)
        if b"connection: close" in lowered:
            self.close()
        return head[9:12].decode(), body

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    if b"transfer-encoding: chunked" in head:
        chunks = []
        while size := int(await reader.readline(), 16):
            chunks.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readexactly(2)
        return b"".join(chunks)
    if b"content-length:" in head:
        return await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
    return b""


async def load(base_url: str, request: Request, *, clients: int, seconds: float) -> Measured:
    """Let `clients` connections call for `seconds`, each waiting for its answer before the next call."""
    url = urlsplit(base_url)
    measured = Measured()
    numbers = iter(range(1 << 31))
    start = time.perf_counter()

    async def worker() -> None:
        client = Client(url.hostname or "127.0.0.1", url.port or 80)
        while time.perf_counter() - start < seconds:
            await _timed(client, request(next(numbers)), measured)
        client.close()

    await asyncio.gather(*(worker() for _ in range(clients)))
    measured.seconds = time.perf_counter() - start
    measured.latencies.sort()
    return measured


async def _timed(client: Client, request: bytes, measured: Measured) -> None:
    begin = time.perf_counter()
    try:
        async with asyncio.timeout(60):
            status, _ = await client.call(request)
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        status = type(error).__name__
        client.close()
    measured.outcomes[status] += 1
    measured.latencies.append(time.perf_counter() - begin)


def request(method: str, path: str, token: str, body: bytes = b"", kind: str = "") -> Request:
    """Always the same request."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: bench",
        f"Authorization: Bearer {token}",
        *([f"Content-Type: {kind}"] if kind else []),
        *([f"Content-Length: {len(body)}"] if method != "GET" else []),
    ]
    packed = ("\r\n".join(lines) + "\r\n\r\n").encode() + body
    return lambda _: packed

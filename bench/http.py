"""HTTP/1.1 at little cost: raw sockets, keep-alive, no client library in the hot path."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from bench.load import Call

Request = Callable[[int], bytes]
"""Makes the bytes of the n-th request."""

_LARGEST_LINE = 1 << 22


class Client:
    """One keep-alive connection."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, request: bytes) -> tuple[str, bytes]:
        """Send one request; its status and body. Raises OSError and asyncio.IncompleteReadError.

        A call that is not answered to its end leaves no connection.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=_LARGEST_LINE)
        try:
            return await self._answer(request, *self._streams)
        except BaseException:
            self.close()
            raise

    async def _answer(
        self, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[str, bytes]:
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


@contextmanager
def http_clients(base_url: str, make: Request, number: int) -> Iterator[list[Call]]:
    """So many clients, each with a connection of its own; closed on leaving."""
    url = urlsplit(base_url)
    clients = [Client(url.hostname or "127.0.0.1", url.port or 80) for _ in range(number)]
    try:
        yield [_calling(client, make) for client in clients]
    finally:
        for client in clients:
            client.close()


def _calling(client: Client, make: Request) -> Call:
    async def call(number: int) -> str:
        try:
            status, _ = await client.call(make(number))
        except (OSError, asyncio.IncompleteReadError) as error:
            return type(error).__name__
        return status

    return call


def packed(method: str, path: str, token: str, body: bytes = b"", content_type: str = "") -> bytes:
    """One request."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: bench",
        f"Authorization: Bearer {token}",
        *([f"Content-Type: {content_type}"] if content_type else []),
        *([f"Content-Length: {len(body)}"] if method != "GET" else []),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body

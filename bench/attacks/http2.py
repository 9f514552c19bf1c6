"""HTTP/2 by hand (RFC 9113, RFC 7541): for frames that no client library would send."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from enum import IntEnum


class Kind(IntEnum):
    """Types of frames (RFC 9113 §6)."""

    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


END_STREAM = ACK = 1
END_HEADERS = 4

INITIAL_WINDOW_SIZE = 4
"""The setting: how much of a stream may be sent to us ahead, bytes."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""The client's connection preface (§3.4)."""


_MAX_FRAME = 16384


def frame(kind: Kind, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """One frame."""
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
    return head + payload


def setting(name: int, value: int) -> bytes:
    """One entry of a SETTINGS frame."""
    return name.to_bytes(2, "big") + value.to_bytes(4, "big")


def fields(values: Mapping[str, str]) -> bytes:
    """A header block: every field a literal without indexing."""
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in values.items())


def request(stream: int, method: str, path: str, *, end: bool, **more: str) -> bytes:
    """The headers of a request; `end` says that no body follows. Underscores in `more` stand for hyphens."""
    pseudo = {":method": method, ":scheme": "http", ":path": path, ":authority": "x"}
    block = fields(pseudo | {name.replace("_", "-"): value for name, value in more.items()})
    first, *others = [block[i : i + _MAX_FRAME] for i in range(0, len(block), _MAX_FRAME)]
    kinds = [Kind.HEADERS, *(Kind.CONTINUATION for _ in others)]
    flags = [END_STREAM if end else 0, *(0 for _ in others)]
    flags[-1] |= END_HEADERS
    parts = zip(kinds, flags, [first, *others], strict=True)
    return b"".join(frame(kind, flag, stream, part) for kind, flag, part in parts)


def _text(text: str) -> bytes:
    data = text.encode()
    if len(data) < 127:
        return bytes((len(data),)) + data
    length, rest = bytearray((127,)), len(data) - 127
    while rest >= 128:
        length.append(rest % 128 + 128)
        rest //= 128
    return bytes((*length, rest)) + data


class Connection:
    """A connection on which the preface was sent, and nothing else."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> bool:
        """Send frames; whether the other side still takes any."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError:
            return False
        return not self._writer.is_closing()

    async def frames(self) -> AsyncIterator[tuple[int, int, int, bytes]]:
        """The received frames, until the connection ends: type, flags, stream and payload."""
        try:
            while True:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                yield head[3], head[4], int.from_bytes(head[5:], "big"), payload
        except (OSError, asyncio.IncompleteReadError):
            return


@asynccontextmanager
async def connected(address: str, settings: bytes = b"") -> AsyncIterator[Connection]:
    """A connection to `host:port`, with these settings; aborted on leaving."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(PREFACE + frame(Kind.SETTINGS, payload=settings))
        yield Connection(reader, writer)
    finally:
        writer.transport.abort()

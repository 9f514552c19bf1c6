"""The attacks that once blocked the whole gateway, by a client without a valid token.

Streams of which only the headers come, bodies that never end, and large messages.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

FORGED = (("authorization", "Bearer e30.e30.AAAA"),)
"""A token that is none; auth has to look at it to know."""

_CHANNEL = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", 64 << 20))


async def unfinished_streams(
    address: str, *, connections: int = 3, streams: int = 1024, metadata: Any = ()
) -> Counter[str]:
    """Calls of which only the headers are sent; the codes that they are answered with."""
    paths = ("StorageService/WriteFile", "ComputeService/GetUserInfo")

    async def one(channel: Any, number: int) -> str:
        call = channel.stream_stream(f"/passerelle.v1.{paths[number % 2]}")
        return await _code(call(metadata=metadata, timeout=60).read())

    async def connection() -> list[str]:
        async with grpc.aio.insecure_channel(address, options=_CHANNEL) as channel:
            return await asyncio.gather(*(one(channel, number) for number in range(streams)))

    codes_of_each = await asyncio.gather(*(connection() for _ in range(connections)))
    return Counter(code for codes in codes_of_each for code in codes)


async def unfinished_bodies(
    address: str, *, connections: int = 35, kept: float = 1
) -> Counter[str]:
    """Requests that announce 8 MiB, send one MiB of it and stay `kept` seconds; the statuses they are answered with."""
    host, _, port = address.rpartition(":")

    async def one(number: int) -> str:
        token = f"authorization: {FORGED[0][1]}\r\n" if number % 2 else ""
        head = f"POST /compute/local/jobs HTTP/1.1\r\nhost: x\r\n{token}content-length: {8 << 20}\r\n\r\n"
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(head.encode() + bytes(1 << 20))
            line = await reader.readline()
            await asyncio.sleep(kept)
            return line.split()[1].decode() if line else "closed"
        except OSError:
            return "closed"
        finally:
            writer.transport.abort()

    return Counter(await asyncio.gather(*(one(number) for number in range(connections))))


async def large_messages(address: str, *, count: int = 24, size: int = 15 << 20) -> Counter[str]:
    """Whole messages; the codes that they are answered with."""
    message = b"\x0a" + bytes(
        [0x80 | size & 0x7F, 0x80 | size >> 7 & 0x7F, 0x80 | size >> 14 & 0x7F]
    )
    message += bytes([size >> 21]) + bytes(size)  # field 1, of `size` bytes

    async with grpc.aio.insecure_channel(address, options=_CHANNEL) as channel:
        unary: Any = channel.unary_unary("/passerelle.v1.ComputeService/GetUserInfo")  # type: ignore[call-arg]
        metadata = (None, FORGED)
        calls = (unary(message, metadata=metadata[n % 2], timeout=60) for n in range(count))
        return Counter(await asyncio.gather(*(_code(call) for call in calls)))


async def _code(call: Awaitable[Any]) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


UNFINISHED: dict[str, Callable[[str, str], Awaitable[Counter[str]]]] = {
    "streams without token": lambda address, _: unfinished_streams(address),
    "streams, forged token": lambda address, _: unfinished_streams(address, metadata=FORGED),
    "unfinished bodies": lambda address, _: unfinished_bodies(address),
    "large messages": lambda address, _: large_messages(address),
}
"""By their names: what attacks a gateway at an address. A valid token is there for those who have one."""

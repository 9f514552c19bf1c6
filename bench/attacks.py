"""`python -m bench.attacks`: what a valid user feels while others attack who have no valid token.

The three attacks are those that once shut the whole gateway: streams of which only the headers come, bodies that never
end, and large messages. The attackers are a process of their own on the same machine, so part of what they cost is what
it costs to attack.
"""

import asyncio
import multiprocessing
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import httpx

from bench.stack import memory_mib

FORGED = (("authorization", "Bearer e30.e30.AAAA"),)
"""A token that is none; auth has to look at it to know."""

_SECONDS = 10.0
_PAUSE = 0.05
_ROUND = 4.0  # seconds, in which the attack that was first seen opened its 3072 streams
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

    found = await asyncio.gather(*(connection() for _ in range(connections)))
    return Counter(code for codes in found for code in codes)


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


ATTACKS: dict[str, Callable[[str], Awaitable[Counter[str]]]] = {
    "streams without token": unfinished_streams,
    "streams, forged token": lambda address: unfinished_streams(address, metadata=FORGED),
    "unfinished bodies": unfinished_bodies,
    "large messages": large_messages,
}


def main() -> None:
    """Measure and print a row without an attack, and one for each."""
    from tests.stack import running_site

    with running_site(environment={"PASSERELLE_PORT": "8009"}) as ready:
        print(f"{'':24}{'calls':>8}{'p50':>8}{'p95':>8}{'ratio':>8}  memory of the services, MiB")
        calm = _row("nothing", ready, None, None)
        for name in ATTACKS:
            _row(name, ready, name, calm)


def _row(label: str, ready: dict[str, Any], attack: str | None, calm: float | None) -> float:
    address = ready["ready"].removeprefix("http://")
    attacker = multiprocessing.get_context("spawn").Process(target=_attack, args=(attack, address))
    if attack:
        attacker.start()
        time.sleep(2)
    times = _calls(ready["ready"], ready["token"])
    if attack:
        attacker.terminate()
        attacker.join()
    p95 = times[int(len(times) * 0.95)]
    p50 = times[len(times) // 2]
    memory = ", ".join(f"{name} {mib:.0f}" for name, mib in memory_mib(ready["pid"]).items())
    ratio = f"{p95 / calm:8.1f}" if calm else " " * 8
    print(f"{label:24}{len(times):8}{p50:8.1f}{p95:8.1f}{ratio}  {memory}", flush=True)
    return p95


def _calls(url: str, token: str) -> list[float]:
    """Milliseconds of a user's calls, one after another with pauses, sorted; raises when one is not answered 2xx."""
    times = []
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as http:
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            begun = time.perf_counter()
            http.get("/v1/systems/local/userinfo").raise_for_status()
            times.append((time.perf_counter() - begun) * 1000)
            time.sleep(_PAUSE)
    return sorted(times)


def _attack(name: str, address: str) -> None:
    async def forever() -> None:
        while True:
            begun = time.monotonic()
            await ATTACKS[name](address)
            await asyncio.sleep(max(0.0, begun + _ROUND - time.monotonic()))

    asyncio.run(forever())


if __name__ == "__main__":
    main()

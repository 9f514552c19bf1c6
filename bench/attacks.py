"""`python -m bench.attacks`: what a valid user feels while others attack.

Three attacks are those that once shut the whole gateway: streams of which only the headers come, bodies that never
end, and large messages, by somebody who has no valid token. The others are in `floods.py`. Each is measured in turns
with times without it. The attackers are a process of their own on the same machine, of the lowest priority, so that
what it costs to attack is not counted with what it costs to be attacked.
"""

import asyncio
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import httpx

from bench.floods import FLOODS, open_calls
from bench.stack import memory_mib

FORGED = (("authorization", "Bearer e30.e30.AAAA"),)
"""A token that is none; auth has to look at it to know."""

_TURNS = 4  # with and without the attack: what else the machine does meanwhile counts for both
_SECONDS = 5.0  # of each
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


ATTACKS: dict[str, Callable[[str, str], Awaitable[Counter[str]]]] = {
    "streams without token": lambda address, _: unfinished_streams(address),
    "streams, forged token": lambda address, _: unfinished_streams(address, metadata=FORGED),
    "unfinished bodies": lambda address, _: unfinished_bodies(address),
    "large messages": lambda address, _: large_messages(address),
}
"""By their names: what attacks a gateway at an address. A valid token is there for those who have one."""


def main() -> None:
    """Measure and print a row for each attack."""
    from tests.stack import running_site

    with running_site(environment={"PASSERELLE_PORT": "8009"}) as ready:
        print(f"{'':26}{'calls':>6}{'p50':>8}{'p95':>8}{'before':>8}{'ratio':>7}  memory, MiB")
        for name, attack in (ATTACKS | FLOODS).items():
            if (
                attack is not open_calls
            ):  # which the only user of this site would make against himself
                _row(name, ready)


def _row(name: str, ready: dict[str, Any]) -> None:
    address, context = ready["ready"].removeprefix("http://"), multiprocessing.get_context("spawn")
    go = context.Event()
    attacker = context.Process(target=_attack, args=(name, address, ready["token"], go))
    attacker.start()
    calm, attacked = list[float](), list[float]()
    for _ in range(_TURNS):
        calm += _calls(ready["ready"], ready["token"])
        go.set()
        attacked += _calls(ready["ready"], ready["token"])
        go.clear()
        time.sleep(_ROUND)  # until the last round is over
    attacker.terminate()
    attacker.join()
    (p50, p95), (_, before) = _percentiles(attacked), _percentiles(calm)
    memory = ", ".join(f"{key} {mib:.0f}" for key, mib in memory_mib(ready["pid"]).items())
    figures = f"{len(attacked):6}{p50:8.1f}{p95:8.1f}{before:8.1f}{p95 / before:7.1f}"
    print(f"{name:26}{figures}  {memory}", flush=True)


def _percentiles(times: list[float]) -> tuple[float, float]:
    times.sort()
    return times[len(times) // 2], times[int(len(times) * 0.95)]


def _calls(url: str, token: str) -> list[float]:
    """Milliseconds of a user's calls, one after another with pauses; raises when one is not answered 2xx."""
    times = []
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as http:
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            begun = time.perf_counter()
            http.get("/v1/systems/local/userinfo").raise_for_status()
            times.append((time.perf_counter() - begun) * 1000)
            time.sleep(_PAUSE)
    return times


def _attack(name: str, address: str, token: str, go: Any) -> None:
    os.nice(19)

    async def forever() -> None:
        while True:
            await asyncio.to_thread(go.wait)
            begun = time.monotonic()
            await (ATTACKS | FLOODS)[name](address, token)
            await asyncio.sleep(max(0.0, begun + _ROUND - time.monotonic()))

    asyncio.run(forever())


if __name__ == "__main__":
    main()

"""What single calls cost, and tables of it by size."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import httpx

from bench.processes import cpu_seconds, resident_mib, spent
from bench.stack import Stack

Calls = Mapping[str, Callable[[], Awaitable[object]]]
"""What is called, by the heading of its column."""

_LONGEST = 120  # that a call may take, s


@dataclass(frozen=True)
class Cost:
    """Of one call, in seconds: on the clock, and CPU time of the gateway's processes."""

    wall: float
    cpu: float


@asynccontextmanager
async def http_client(stack: Stack, user: str = "alice") -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway with a token of the user."""
    headers = {"Authorization": f"Bearer {stack.token(user)}"}
    async with httpx.AsyncClient(
        base_url=stack.base_url, headers=headers, timeout=_LONGEST
    ) as client:
        yield client


async def got(client: httpx.AsyncClient, url: str, **query: str | int) -> httpx.Response:
    """The answer to GET. Raises httpx.HTTPStatusError for an error."""
    return (await client.get(url, params=query)).raise_for_status()


async def _least_cost(
    stack: Stack, call: Callable[[], Awaitable[object]], repeat: int, pause: float
) -> Cost:
    """The least time on the clock, and the least CPU time, of so many calls."""
    costs = []
    for _ in range(repeat):
        await asyncio.sleep(pause)
        costs.append(await _cost(stack, call))
    return Cost(min(cost.wall for cost in costs), min(cost.cpu for cost in costs))


async def _cost(stack: Stack, call: Callable[[], Awaitable[object]]) -> Cost:
    before, begin = cpu_seconds(stack.pid), time.perf_counter()
    await call()
    taken = time.perf_counter() - begin
    return Cost(taken, sum(spent(before, cpu_seconds(stack.pid)).values()))


async def print_table(
    stack: Stack,
    repeat: int,
    sizes: Sequence[int],
    prepared: Callable[[int], AbstractAsyncContextManager[Calls]],
    pause: float = 0,
) -> None:
    """A row for each size, of the calls that `prepared` makes for it; before each call it waits `pause` seconds.

    Behind the times of a call stands how CPU time per item has grown since the row before: 1.00 is linear growth.
    """
    before: tuple[int, dict[str, Cost]] | None = None
    for size in sizes:
        async with prepared(size) as calls:
            costs = {
                name: await _least_cost(stack, call, repeat, pause) for name, call in calls.items()
            }
        if before is None:
            print("ms on the clock, CPU ms; and CPU per item, times that of the row before")
            print(" " * 8 + "".join(f"{name:>24}" for name in costs) + "  memory, MiB")
        cells = (f"{_cell(name, cost, size, before):>24}" for name, cost in costs.items())
        print(f"{size:8}{''.join(cells)}{resident_mib(stack.pid):13.0f}", flush=True)
        before = size, costs


def _cell(name: str, cost: Cost, size: int, before: tuple[int, dict[str, Cost]] | None) -> str:
    text = f"{cost.wall * 1e3:.1f} {cost.cpu * 1e3:.1f}"
    if before is None or not before[1][name].cpu:
        return text
    return f"{text} x{cost.cpu / before[1][name].cpu * before[0] / size:.2f}"

"""Users with open SSH connections and helpers.

Each calls `stat` ten times in a row, so that auth is asked about one of ten calls however many users there are.
"""

import asyncio
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from bench.http import Client, packed
from bench.processes import cpu_seconds, memory_mib, spent
from bench.stack import Stack

CLUSTER_OPTIONS = ("--users", "998", "--max-startups", "500:30:1000")
"""How `deploy/cluster/up` makes a cluster with as many users."""
_SIZES = (10, 100, 1_000)
_CALLS = 10
_CLIENTS = 10
_FORGOTTEN = 6.0  # s after which auth is asked again about a user (`services.auth_cache`)


async def measure(stack: Stack, repeat: int) -> None:
    """Print CPU time of the gateway's processes by login, call and second without calls, and storage's memory."""
    requests = [_request(stack, user) for user in stack.cluster.users]
    print(
        "CPU time: ms per login, ms per second without calls, us per call and times that of 10 users"
    )
    print("   users       login        idle        call       times  storage's memory, MiB")
    opened = 0
    for size in _SIZES:
        login = await _cost(stack, requests[opened:size], 1)
        opened = size
        few, many, idle = [], [], []
        for _ in range(repeat):
            idle.append(await _idle_cost(stack))
            few.append(await _cost(stack, requests[: _SIZES[0]], _CALLS))
            idle.append(await _idle_cost(stack))
            many.append(await _cost(stack, requests[:size], _CALLS))
        cells = (login * 1e3, min(idle) * 1e3, min(many) * 1e6, min(many) / min(few))
        memory = memory_mib(stack.pid)["storage"]
        print(f"{size:8}{''.join(f'{cell:12.2f}' for cell in cells)}{memory:12.1f}", flush=True)


def _request(stack: Stack, user: str) -> bytes:
    return packed("GET", "/filesystem/cluster/ops/stat?path=/home", stack.token(user))


async def _idle_cost(stack: Stack) -> float:
    """CPU time of the gateway's processes per second without calls, in s: keep-alives and sweeps.

    After it, auth is asked again about every user.
    """
    before = cpu_seconds(stack.pid)
    await asyncio.sleep(_FORGOTTEN)
    return sum(spent(before, cpu_seconds(stack.pid)).values()) / _FORGOTTEN


async def _cost(stack: Stack, requests: Sequence[bytes], calls: int) -> float:
    """CPU time of the gateway's processes per call, in s. Raises RuntimeError for a call that is not answered 200."""
    waiting = iter(requests)
    before = cpu_seconds(stack.pid)
    await asyncio.gather(*(_client(stack, waiting, calls) for _ in range(_CLIENTS)))
    return sum(spent(before, cpu_seconds(stack.pid)).values()) / (len(requests) * calls)


async def _client(stack: Stack, requests: Iterator[bytes], calls: int) -> None:
    """Takes one user's request after another, and sends each so many times."""
    url = urlsplit(stack.base_url)
    client = Client(url.hostname or "127.0.0.1", url.port or 80)
    try:
        for request in requests:
            for _ in range(calls):
                status, body = await client.call(request)
                if status != "200":
                    raise RuntimeError(f"a call was answered {status}: {body.decode()}")
    finally:
        client.close()

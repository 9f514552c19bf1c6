"""Jobs in the queue.

`stall` is the longest that another user's short calls take while a list of all is made.
"""

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from itertools import count, cycle
from typing import Any

import httpx

from bench.floor import connected_to
from bench.growth.costs import Calls, got, http_client, print_table
from bench.stack import Stack
from tests.cluster import Cluster

_SIZES = (1_000, 10_000, 50_000)
_NAME = f"passerelle-bench-growth-{os.getpid()}"
_AT_ONCE = 3  # connections that submit
_SUBMIT = (
    f"sbatch --parsable --hold --job-name={_NAME} --output=/dev/null --account=proj1 --wrap=true"
)
_DAY = 86400  # s
_SHARED = 1.1  # s after which an answer is no longer shared (`compute.cache_seconds`)
_PAUSE = 0.01  # between two short calls, s


async def measure(stack: Stack, repeat: int) -> None:
    """Print the table. The jobs are held, so that none of them runs, and cancelled at the end."""
    submitted: list[str] = []
    windows = count(_DAY)  # so that accounting is asked anew, too

    @asynccontextmanager
    async def prepared(size: int) -> AsyncIterator[Calls]:
        submitted.extend(await _submitted(stack.cluster, size - len(submitted)))
        jobs = cycle(submitted)
        yield {
            "all": lambda: _listed(alice, next(windows)),
            "page of 100": lambda: _listed(alice, next(windows), pageSize=100),
            "profile, all": lambda: got(alice, "/compute/cluster/jobs", allusers="true"),
            "profile, one job": lambda: got(alice, f"/compute/cluster/jobs/{next(jobs)}"),
        }
        stalls = [await _stall(bob, _listed(alice, next(windows))) for _ in range(repeat)]
        print(f"stall: {min(stalls) * 1e3:.0f} ms at least, {max(stalls) * 1e3:.0f} ms at most")

    async with http_client(stack) as alice, http_client(stack, "bob") as bob:
        try:
            await print_table(stack, repeat, _SIZES, prepared, pause=_SHARED)
        finally:
            _cancel(stack.cluster)


async def _listed(client: httpx.AsyncClient, window: int, **query: int) -> None:
    await got(client, "/v1/systems/cluster/jobs", allUsers="true", window=f"{window}s", **query)


async def _stall(client: httpx.AsyncClient, work: Coroutine[Any, Any, None]) -> float:
    """The longest of this client's calls while the work is done, in s."""
    working = asyncio.create_task(work)
    longest = 0.0
    while not working.done():
        begin = time.perf_counter()
        await got(client, "/status/cluster/userinfo")
        longest = max(longest, time.perf_counter() - begin)
        await asyncio.sleep(_PAUSE)
    await working
    return longest


async def _submitted(cluster: Cluster, number: int) -> list[str]:
    """The ids of so many new jobs of alice."""
    each = [number // _AT_ONCE] * (_AT_ONCE - 1)
    lists = await asyncio.gather(*(_submit(cluster, n) for n in (*each, number - sum(each))))
    return [job for jobs in lists for job in jobs]


async def _submit(cluster: Cluster, number: int) -> list[str]:
    async with connected_to(cluster) as connection:
        done = await connection.run(f"for i in $(seq {number}); do {_SUBMIT}; done", check=True)
    return str(done.stdout).split()


def _cancel(cluster: Cluster) -> None:
    environment = os.environ | {"SLURM_CONF": str(cluster.slurm_conf)}
    subprocess.run(("scancel", f"--name={_NAME}"), env=environment, check=True)

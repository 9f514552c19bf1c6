"""`python -m bench.growth`: what directories cost as they grow, beside bare SFTP on the same server."""

import argparse
import asyncio
import os
import pwd
import shutil
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import asyncssh
import httpx

from bench.floor import connected_to
from bench.processes import resident_mib
from bench.stack import Stack, begin, running_stack

SIZES = (10, 100, 1_000, 10_000, 100_000)
_DIRECTORY = Path("/home/alice/passerelle-bench-growth")
_COLUMNS = ("sftp readdir", "profile ls", "native list", "page of 100", "walk: first", "walk: all")


def main() -> None:
    """Measure and print, one row for each size."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--cluster", type=Path, help="directory of a running deploy/cluster")
    parser.add_argument(
        "--repeat", type=int, default=5, help="calls of each kind; the median is shown"
    )
    options = parser.parse_args()
    begin()
    with running_stack(options.cluster) as stack:
        asyncio.run(_measured(stack, options.repeat))


async def _measured(stack: Stack, repeat: int) -> None:
    print(
        "p50, ms\n"
        + "entries".rjust(8)
        + "".join(name.rjust(14) for name in _COLUMNS)
        + "  memory, MiB"
    )
    async with AsyncExitStack() as opened:
        connection = await opened.enter_async_context(connected_to(stack.cluster))
        sftp = await opened.enter_async_context(connection.start_sftp_client())
        client = await opened.enter_async_context(_client(stack))
        for size in SIZES:
            with _entries(size):
                times = [await _median(call, repeat) for call in _calls(sftp, client)]
            row = "".join(f"{milliseconds:14.1f}" for milliseconds in times)
            print(f"{size:8}{row}{resident_mib(stack.pid):13.0f}", flush=True)


def _client(stack: Stack) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=stack.base_url, headers={"Authorization": f"Bearer {stack.token()}"}, timeout=60
    )


def _calls(
    sftp: asyncssh.SFTPClient, client: httpx.AsyncClient
) -> tuple[Callable[[], Awaitable[object]], ...]:
    """In the order of `_COLUMNS`."""
    path, native = str(_DIRECTORY), "/v1/systems/cluster/files"

    async def got(url: str, **query: str | int) -> None:
        reply = await client.get(url, params={"path": path, **query})
        reply.raise_for_status()

    async def first() -> None:
        async with client.stream("GET", f"{native}:walk", params={"path": path}) as reply:
            reply.raise_for_status()
            await anext(reply.aiter_raw())

    return (
        lambda: sftp.readdir(path),
        lambda: got("/filesystem/cluster/ops/ls"),
        lambda: got(native),
        lambda: got(native, pageSize=100),
        first,
        lambda: got(f"{native}:walk"),
    )


async def _median(call: Callable[[], Awaitable[object]], repeat: int) -> float:
    """Milliseconds."""
    taken = []
    for _ in range(repeat):
        begin = time.perf_counter()
        await call()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken) * 1000


@contextmanager
def _entries(count: int) -> Iterator[None]:
    """A directory with so many empty files, alice's."""
    owner = pwd.getpwnam("alice")
    _DIRECTORY.mkdir()
    try:
        for number in range(count):
            (_DIRECTORY / f"file_{number:06}.dat").touch()
        os.chown(_DIRECTORY, owner.pw_uid, owner.pw_gid)
        yield
    finally:
        shutil.rmtree(_DIRECTORY)


if __name__ == "__main__":
    main()

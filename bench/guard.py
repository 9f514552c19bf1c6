"""`python -m bench.guard`: what calls cost, in measures that neighbours on the machine cannot spoil.

The CPU time of a stat is compared with that of a call which does nothing, behind the same configuration of Envoy and in
turns; memory is counted. Exits 1 when a limit is passed.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop
from asyncssh import SFTPClient

from bench import null
from bench.accounts import Account, prepared
from bench.comparison.operations import OPERATIONS
from bench.comparison.sides import Server
from bench.floor import logins
from bench.large import download, filled, home, upload
from bench.load import Measured, closed_loop
from bench.processes import cpu_seconds, memory_mib, peaks, spent
from bench.stack import Stack, begin, running_stack

STAT_LIMIT = 3.2
"""CPU time of the storage service per stat, by that of a service which does nothing. The goal is 2.2."""

UPLOADS_LIMIT = 600.0
"""Memory of all processes of the gateway while 512 clients upload 1 MiB at once, in MiB."""

COPY_LIMITS = {"up": 3.2, "down": 2.2}
"""CPU time of the storage service per byte of a large file, by that of asyncssh which copies it itself."""

UPLOADS = 512

_COPY = 128 << 20
_COPIES = 5
_ROUNDS = 40
_SECONDS = 0.3
_CLIENTS = 64


def main() -> None:
    """Measure, and print each figure with its limit."""
    parser = argparse.ArgumentParser(prog="python -m bench.guard", description=__doc__)
    parser.add_argument("--cluster", type=Path, help="directory of a running deploy/cluster")
    options = parser.parse_args()
    begin()
    with running_stack(options.cluster) as stack:
        figures = uvloop.run(_measured(stack))
    for what, (figure, limit) in figures.items():
        print(f"{what}: {figure:.2f}, at most {limit:.2f}")
    if any(figure > limit for figure, limit in figures.values()):
        sys.exit("A limit is passed.")


async def _measured(stack: Stack) -> dict[str, tuple[float, float]]:
    """Each figure with its limit, by name."""
    async with prepared(stack.cluster, ("alice",)) as accounts:
        stat, uploads = await stat_ratio(stack, accounts), await uploads_mib(stack, accounts)
    copies = await copy_ratios(stack)
    return {
        "CPU time of a stat, by that of a null RPC": (stat, STAT_LIMIT),
        f"memory during {UPLOADS} uploads, MiB": (uploads, UPLOADS_LIMIT),
        **{
            f"CPU time of a large copy {way}, by that of asyncssh": (copies[way], limit)
            for way, limit in COPY_LIMITS.items()
        },
    }


async def stat_ratio(stack: Stack, accounts: Sequence[Account]) -> float:
    """CPU time of the storage service per stat, by that of a service which does nothing.

    Of each the least of many short rounds in turns, because what else the machine does only adds to it: processes that
    wait for a processor wake up more often for fewer calls, and find its caches cold. Raises RuntimeError when a call
    is answered anything but 2xx.
    """
    stat, nothing = list[float](), list[float]()
    async with null.null_service(stack) as server:
        for _ in range(_ROUNDS):
            stat.append(await _cpu_per_stat(_gateway(stack), accounts, "storage"))
            nothing.append(await _cpu_per_stat(server, accounts, null.NAME))
    return min(stat) / min(nothing)


async def _cpu_per_stat(server: Server, accounts: Sequence[Account], process: str) -> float:
    """CPU time of the processes of that name per call, in s."""
    before = cpu_seconds(*server.pids)
    measured = await _load(server, "stat", accounts, _CLIENTS)
    return spent(before, cpu_seconds(*server.pids))[process] / len(measured.latencies)


async def uploads_mib(stack: Stack, accounts: Sequence[Account]) -> float:
    """The most that all processes of the gateway take together while 512 clients upload 1 MiB at once, in MiB.

    Raises RuntimeError when an upload is answered anything but 2xx.
    """
    with peaks(lambda: {"all": sum(memory_mib(stack.pid).values())}) as most:
        await _load(_gateway(stack), "upload1MiB", accounts, UPLOADS)
    return most["all"]


async def copy_ratios(stack: Stack) -> dict[str, float]:
    """CPU time of the storage service per byte of a large file, `up` and `down`, by that of asyncssh which copies it.

    Of each the least of several rounds in turns.
    """
    with tempfile.TemporaryDirectory() as folder, home() as remote:
        source = Path(folder) / "source"
        digest = filled(source, _COPY)
        async with logins(stack.cluster, ("alice",)) as opened:
            sftp = opened["alice"].sftp
            ours, bare = [], []
            for _ in range(_COPIES):
                ours.append(_own_copy(stack, source, remote / "ours", digest))
                bare.append(await _bare_copy(sftp, source, remote / "bare"))
    return {
        way: min(each[way] for each in ours) / min(each[way] for each in bare)
        for way in COPY_LIMITS
    }


def _own_copy(stack: Stack, source: Path, remote: Path, digest: str) -> dict[str, float]:
    """CPU time of the storage service for one copy up and one down, in s."""
    begun = cpu_seconds(stack.pid)["storage"]
    upload(stack, source, remote, digest)
    middle = cpu_seconds(stack.pid)["storage"]
    download(stack, remote, source.with_name("target"))
    return {"up": middle - begun, "down": cpu_seconds(stack.pid)["storage"] - middle}


async def _bare_copy(sftp: SFTPClient, source: Path, remote: Path) -> dict[str, float]:
    """The same of this process, by asyncssh alone."""
    begun = time.process_time()
    await sftp.put(str(source), str(remote))
    middle = time.process_time()
    await sftp.get(str(remote), str(source.with_name("target")))
    return {"up": middle - begun, "down": time.process_time() - middle}


async def _load(
    server: Server, operation: str, accounts: Sequence[Account], clients: int
) -> Measured:
    with server.clients(OPERATIONS[operation], accounts, clients) as calls:
        measured = await closed_loop(calls, seconds=_SECONDS)
    if measured.errors:
        raise RuntimeError(f"{server.name}: {operation} was answered {measured.errors}")
    return measured


def _gateway(stack: Stack) -> Server:
    return Server("gateway", stack.base_url, {"alice": stack.token()}, (stack.pid,))


if __name__ == "__main__":
    main()

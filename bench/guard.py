"""`python -m bench.guard`: what calls cost, in measures that neighbours on the machine cannot spoil.

The CPU time of a stat is compared with that of a call which does nothing, behind the same configuration of Envoy and in
turns; memory is counted. Exits 1 when a limit is passed.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from bench import null
from bench.accounts import Account, prepared
from bench.load import Measured, closed_loop
from bench.operations import OPERATIONS
from bench.processes import cpu_seconds, memory_mib, peaks, spent
from bench.results import lower_quartile
from bench.sides import Server
from bench.stack import Stack, begin, running_stack

STAT_LIMIT = 3.6
"""CPU time of the storage service per stat, by that of a service which does nothing. The goal is 2.2."""

UPLOADS_LIMIT = 600.0
"""Memory of all processes of the gateway while 512 clients upload 1 MiB at once, in MiB."""

UPLOADS = 512

_ROUNDS = 9
_SECONDS = 1.0
_CLIENTS = 64


def main() -> None:
    """Measure and print both figures beside their limits."""
    parser = argparse.ArgumentParser(prog="python -m bench.guard", description=__doc__)
    parser.add_argument("--cluster", type=Path, help="directory of a running deploy/cluster")
    options = parser.parse_args()
    begin()
    with running_stack(options.cluster) as stack:
        stat, uploads = uvloop.run(_measured(stack))
    print(f"CPU time of a stat, by that of a null RPC: {stat:.2f} (at most {STAT_LIMIT})")
    print(f"memory during {UPLOADS} uploads: {uploads:.0f} MiB (at most {UPLOADS_LIMIT:.0f})")
    if stat > STAT_LIMIT or uploads > UPLOADS_LIMIT:
        sys.exit("A limit is passed.")


async def _measured(stack: Stack) -> tuple[float, float]:
    async with prepared(stack.cluster, ("alice",)) as accounts:
        return await stat_ratio(stack, accounts), await uploads_mib(stack, accounts)


async def stat_ratio(stack: Stack, accounts: Sequence[Account]) -> float:
    """CPU time of the storage service per stat, by that of a service which does nothing.

    Of each the lower quartile over rounds in turns, because what else the machine does only adds to it. Raises
    RuntimeError when a call is answered anything but 2xx.
    """
    stat, nothing = list[float](), list[float]()
    async with null.null_service(stack) as server:
        for _ in range(_ROUNDS):
            stat.append(await _cpu_per_stat(_gateway(stack), accounts, "storage"))
            nothing.append(await _cpu_per_stat(server, accounts, null.NAME))
    return lower_quartile(stat) / lower_quartile(nothing)


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

"""`python -m bench`: what the gateway costs above bare asyncssh, and beside another server, in one run.

Absolute times depend on the machine and on what else it does: compare within one run only. Exits 1 when the gateway
has answered anything but 2xx.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from pathlib import Path
from typing import TypeVar

import uvloop

from bench.accounts import cancel_jobs, prepared
from bench.comparison import picture, results
from bench.comparison.firecrest import running_firecrest
from bench.comparison.operations import OPERATIONS
from bench.comparison.report import OURS, document, tables
from bench.comparison.rounds import Cell, Comparison
from bench.comparison.sides import Bare, Server, Side
from bench.floor import logins
from bench.stack import Stack, begin, running_stack
from tests.cluster import Cluster

_T = TypeVar("_T")

TOKENS = "RIVAL_TOKENS"


def main() -> None:
    """Measure, print, write."""
    options = _options()
    begin()
    with running_stack(options.cluster, *_cluster_options(options)) as stack:
        comparison = uvloop.run(_compared(stack, options))
    print(*tables(comparison), sep="\n")
    options.output.mkdir(parents=True, exist_ok=True)
    result = document(comparison)
    (options.output / "bench.json").write_text(json.dumps(result, indent=1))
    (options.output / "bench.svg").write_text(picture.drawn(result))
    ours = [sides[OURS] for sides in comparison.samples.values()]
    if any(results.refused(samples) for samples in ours):
        sys.exit("The gateway has refused calls.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    numbers = _list_of(int)
    parser.add_argument("--only", type=_list_of(str), default=[*OPERATIONS], help="operations")
    parser.add_argument("--clients", type=numbers, default=[1, 16, 64, 512], help="at once")
    parser.add_argument("--users", type=numbers, default=[1, 50], help="whom the clients call as")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each cell and side")
    parser.add_argument(
        "--quick", action="store_true", help="the same as --clients 1,64 --users 1 --rounds 2"
    )
    parser.add_argument(
        "--cluster", type=Path, help="directory of a running deploy/cluster, instead of one's own"
    )
    parser.add_argument(
        "--firecrest",
        nargs=2,
        type=Path,
        metavar=("SOURCE", "PYTHON"),
        help="start FirecREST v2 as the rival: a checkout, and an interpreter with its requirements",
    )
    parser.add_argument(
        "--rival",
        metavar="URL",
        help="any server with the FirecREST v2 API before the cluster of --cluster; "
        f"tokens of the users, alice first, separated by blanks in the environment variable {TOKENS}",
    )
    parser.add_argument("--rival-system", default="cluster", help="its name for the cluster")
    parser.add_argument(
        "--output", type=Path, default=Path("dist"), help="directory of bench.json and bench.svg"
    )
    if parser.parse_known_args()[0].quick:
        parser.set_defaults(clients=[1, 64], users=[1], rounds=2)
    options = parser.parse_args()
    if unknown := set(options.only) - set(OPERATIONS):
        parser.error(f"no such operation: {', '.join(unknown)}; there are {', '.join(OPERATIONS)}")
    return options


def _list_of(kind: Callable[[str], _T]) -> Callable[[str], list[_T]]:
    return lambda text: [kind(word) for word in text.split(",")]


def _cluster_options(options: argparse.Namespace) -> Iterator[str]:
    """For `deploy/cluster/up`, where the bench starts a cluster of its own."""
    yield from ("--users", str(max(options.users) - 1))  # besides alice
    yield from ("--max-startups", "500:30:1000")  # they all open their connections at once
    if options.firecrest:
        yield from ("--max-sessions", "1000")  # it opens a session for each call


async def _compared(stack: Stack, options: argparse.Namespace) -> Comparison:
    names = stack.cluster.users[: max(options.users)]
    if len(names) < max(options.users):
        sys.exit(f"The cluster has {len(names)} users; `deploy/cluster/up --users` makes more.")
    async with AsyncExitStack() as opened:
        accounts = await opened.enter_async_context(prepared(stack.cluster, names))
        tokens = {name: stack.token(name) for name in names}
        sides: list[Side] = [Server(OURS, stack.base_url, tokens, (stack.pid,))]
        sides.append(Bare(await opened.enter_async_context(logins(stack.cluster, names))))
        sides += [opened.enter_context(rival) for rival in _rivals(stack, options, tokens)]
        comparison = Comparison(
            sides=sides,
            accounts=accounts,
            system_pids=[_listener(stack.cluster)],
            seconds=options.seconds,
            rounds=options.rounds,
            after=lambda cell: _tidy(stack.cluster, cell),
            report=lambda line: print(line, file=sys.stderr, flush=True),
        )
        cells = [
            Cell(users, clients, operation)
            for users in options.users
            for clients in options.clients
            for operation in options.only
        ]
        await comparison.run([cell for cell in cells if cell.operation != "submit"])
        # At the end: what it submits stays in the accounting for ever, where `jobs` looks.
        await comparison.run([cell for cell in cells if cell.operation == "submit"])
    return comparison


def _rivals(
    stack: Stack, options: argparse.Namespace, tokens: dict[str, str]
) -> Iterator[AbstractContextManager[Side]]:
    if options.firecrest:
        source, python = options.firecrest
        yield running_firecrest(source, python, stack.cluster, stack.issuer, tokens)
    if options.rival:
        rival_tokens = os.environ.get(TOKENS, "").split()
        if len(rival_tokens) < len(tokens):
            sys.exit(
                f"{len(tokens)} users are measured, and {TOKENS} has {len(rival_tokens)} tokens."
            )
        of_users = dict(zip(tokens, rival_tokens, strict=False))
        yield nullcontext(Server("rival", options.rival, of_users, (), options.rival_system))


def _listener(cluster: Cluster) -> int:
    """The process of sshd whose descendants are all sessions."""
    return int((cluster.directory / "ssh" / "sshd.pid").read_text())


def _tidy(cluster: Cluster, cell: Cell) -> None:
    if cell.operation == "submit":
        cancel_jobs(cluster)


if __name__ == "__main__":
    main()

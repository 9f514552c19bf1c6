"""`python -m bench.crowd`: what a call costs when many users call at once, beside as many calls of one user."""

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from bench.comparison.results import lower_quartile
from bench.http import http_clients, packed
from bench.processes import cpu_seconds, spent
from bench.stack import Stack, begin, running_stack

CALLS = 3
"""Of each user, one after another."""
_LOGINS = 20  # users at once who log in before anything is measured
_USERS = ("--max-sessions", "100", "--max-startups", "500:30:1000")


def main() -> None:
    """Measure and print: CPU time per call of the gateway's processes, and the ratio of the lower quartiles."""
    parser = argparse.ArgumentParser(prog="python -m bench.crowd", description=__doc__)
    parser.add_argument("--cluster", type=Path, help="directory of a running deploy/cluster")
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1, help="of storage")
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    begin()
    more_users = ("--users", str(options.users - 2), *_USERS)
    with running_stack(options.cluster, *more_users, workers=options.workers) as stack:
        asyncio.run(_measured(stack, stack.cluster.users[: options.users], options.rounds))


async def _measured(stack: Stack, users: Sequence[str], rounds: int) -> None:
    for first in range(0, len(users), _LOGINS):
        await _cost(stack, users[first : first + _LOGINS])
    variants = {f"{len(users)} users": users, "one user": [users[0]] * len(users)}
    costs: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds):
        for name in sorted(variants, reverse=bool(number % 2)):
            costs[name].append(await _cost(stack, variants[name]))
    quartiles = {name: lower_quartile(samples) for name, samples in costs.items()}
    for name, quartile in quartiles.items():
        print(f"{name:10} {quartile * 1e6:6.0f} us a call; {min(costs[name]) * 1e6:.0f} at least")
    many, one = quartiles.values()
    print(f"ratio      {many / one:.2f}")


async def _cost(stack: Stack, users: Sequence[str]) -> float:
    """CPU time of the gateway's processes per call, in s: each user is a client, and all begin at once.

    Each has a token that no service has seen before. Raises RuntimeError for a call that is not answered 200.
    """
    before = cpu_seconds(stack.pid)
    await asyncio.gather(*(_calls(stack, user) for user in users))
    return sum(spent(before, cpu_seconds(stack.pid)).values()) / (len(users) * CALLS)


async def _calls(stack: Stack, user: str) -> None:
    token = stack.issuer.token(user, jti=str(uuid4()))
    request = packed("GET", f"/filesystem/cluster/ops/stat?path=/home/{user}", token)
    with http_clients(stack.base_url, lambda number: request, 1) as (call,):
        for number in range(CALLS):
            if (status := await call(number)) != "200":
                raise RuntimeError(f"{user} was answered {status}")


if __name__ == "__main__":
    main()

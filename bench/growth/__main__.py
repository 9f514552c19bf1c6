"""`python -m bench.growth`: what calls cost as directories, the queue of jobs and the number of users grow."""

import argparse
import asyncio
from pathlib import Path

from bench.growth import directories, queue, users
from bench.stack import Stack, begin, running_stack

QUANTITIES = {"directories": directories, "queue": queue, "users": users}


def main() -> None:
    """Measure and print a table for each quantity."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--cluster", type=Path, help="directory of a running deploy/cluster")
    parser.add_argument("--only", choices=QUANTITIES, nargs="+", default=[*QUANTITIES])
    parser.add_argument(
        "--repeat", type=int, default=5, help="calls of each kind; the least counts"
    )
    options = parser.parse_args()
    begin()
    more = users.CLUSTER_OPTIONS if "users" in options.only else ()
    with running_stack(options.cluster, *more) as stack:
        asyncio.run(_measured(stack, options.only, options.repeat))


async def _measured(stack: Stack, quantities: list[str], repeat: int) -> None:
    for name in quantities:
        print(f"\n{QUANTITIES[name].__doc__}", flush=True)
        await QUANTITIES[name].measure(stack, repeat)


if __name__ == "__main__":
    main()

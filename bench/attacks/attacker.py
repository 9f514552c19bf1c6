"""The attacker: a process of its own on the same machine, of the lowest priority.

So what it costs to attack is not counted with what it costs to be attacked.
"""

import asyncio
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.attacks.floods import FLOODS
from bench.attacks.unfinished import UNFINISHED

ATTACKS = UNFINISHED | FLOODS
"""By their names: what attacks a gateway at an address. A valid token is there for those who have one."""

ROUND = 4.0
"""Seconds, in which the attack that was first seen opened its 3072 streams."""


@contextmanager
def attacker(name: str, address: str, token: str) -> Iterator[Any]:
    """An attacker of `address`, while the event that it yields is set."""
    context = multiprocessing.get_context("spawn")
    go = context.Event()
    process = context.Process(target=_attack, args=(name, address, token, go))
    process.start()
    try:
        yield go
    finally:
        process.terminate()
        process.join()


def _attack(name: str, address: str, token: str, go: Any) -> None:
    os.nice(19)

    async def forever() -> None:
        while True:
            await asyncio.to_thread(go.wait)
            begun = time.monotonic()
            await ATTACKS[name](address, token)
            await asyncio.sleep(max(0.0, begun + ROUND - time.monotonic()))

    asyncio.run(forever())

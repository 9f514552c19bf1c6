"""Turns: so many at once, so many in line."""

import asyncio

import pytest

from passerelle.runtime.errors import Overloaded
from passerelle.runtime.turns import Turns


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_turns_are_bounded_and_given_back() -> None:
    turns, release = Turns("lab", 2, 3), asyncio.Event()

    async def wait() -> None:
        async with turns.turn():
            await release.wait()

    waiting = [asyncio.create_task(wait()) for _ in range(5)]
    await settle()
    with pytest.raises(Overloaded):
        async with turns.turn():
            pass
    waiting[4].cancel()  # one that waits
    waiting[0].cancel()  # one that has its turn
    await settle()
    waiting.append(asyncio.create_task(wait()))
    release.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [result is None for result in results] == [False, True, True, True, False, True]
    async with turns.turn():
        pass

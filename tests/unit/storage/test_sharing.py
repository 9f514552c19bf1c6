"""Turns and shared calls."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from passerelle.runtime.errors import Overloaded
from passerelle.runtime.turns import Turns
from passerelle.storage.access.shared_calls import SharedCalls


class Calls:
    """Calls that end when they are told to; `begun` counts them."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.go = asyncio.Event()

    async def __call__(self) -> bytes:
        self.begun += 1
        mine = str(self.begun).encode()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return mine


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def started(call: Callable[[], Awaitable[bytes]]) -> "asyncio.Task[bytes]":
    async def run() -> bytes:
        return await call()

    return asyncio.create_task(run())


async def test_who_comes_during_a_call_shares_the_next() -> None:
    shared, calls = SharedCalls(), Calls()
    first = started(lambda: shared.run("k", calls))
    await settle()
    later = [started(lambda: shared.run("k", calls)) for _ in range(5)]
    other = started(lambda: shared.run("other", calls))
    await settle()
    assert calls.begun == 2  # the first and the other
    calls.go.set()
    assert await first == b"1"
    assert await other == b"2"
    assert await asyncio.gather(*later) == [b"3"] * 5


async def test_a_call_goes_on_as_long_as_somebody_waits() -> None:
    shared, calls = SharedCalls(), Calls()
    both = [started(lambda: shared.run("k", calls)) for _ in range(2)]
    await settle()
    both[0].cancel()
    await settle()
    assert calls.cancelled == 0
    both[1].cancel()
    await settle()
    assert calls.cancelled == 1
    calls.go.set()
    assert await shared.run("k", calls) == b"2"


async def test_an_error_reaches_all_and_is_not_kept() -> None:
    shared = SharedCalls()
    outcomes: list[Exception | bytes] = [ZeroDivisionError(), b"fine"]

    async def call() -> bytes:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    both = [started(lambda: shared.run("k", call)) for _ in range(2)]
    results = await asyncio.gather(*both, return_exceptions=True)
    assert [type(result) for result in results] == [ZeroDivisionError] * 2
    assert await shared.run("k", call) == b"fine"


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

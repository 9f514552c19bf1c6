"""Long computations leave the event loop free; short ones do not pay for a thread."""

import asyncio
import threading
from typing import Any

import pytest

from passerelle.runtime import caller
from passerelle.runtime.computation import computed
from passerelle.runtime.errors import BackendError

FEW, MANY = 10, 50_000
PATIENCE = 10.0  # seconds, for a test that fails


async def test_other_calls_are_answered_while_much_is_computed() -> None:
    answered = threading.Event()
    computing = asyncio.create_task(computed(lambda: answered.wait(PATIENCE), MANY))
    await asyncio.sleep(0)
    answered.set()
    assert await computing


async def test_long_computations_take_turns() -> None:
    both = threading.Barrier(2)

    def meet() -> None:
        with pytest.raises(threading.BrokenBarrierError):
            both.wait(0.05)

    await asyncio.gather(computed(meet, MANY), computed(meet, MANY))


async def test_little_is_computed_at_once() -> None:
    assert await computed(threading.current_thread, FEW) is threading.current_thread()


@pytest.mark.parametrize("items", [FEW, MANY])
async def test_the_caller_is_known(items: int) -> None:
    alice = caller.Caller("alice", "token")
    with caller.bind(alice):
        assert await computed(caller.current, items) is alice


@pytest.mark.parametrize("items", [FEW, MANY])
async def test_a_failure_is_raised(items: int) -> None:
    def fail() -> Any:
        raise BackendError("no")

    with pytest.raises(BackendError, match="no"):
        await computed(fail, items)

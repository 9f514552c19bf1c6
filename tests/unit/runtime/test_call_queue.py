"""Queues of calls: so many at once, so many more wait."""

import asyncio

import pytest
from prometheus_client import REGISTRY

from passerelle.runtime.call_queue import CallQueue
from passerelle.runtime.errors import Overloaded


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def waiting(name: str) -> float | None:
    labels = {"system": "queued", "queue": name}
    return REGISTRY.get_sample_value("passerelle_calls_waiting", labels)


async def test_slots_are_bounded_and_given_back() -> None:
    queue, release = CallQueue("queued", "calls", at_once=2, most_waiting=3), asyncio.Event()

    async def wait() -> None:
        async with queue.slot():
            await release.wait()

    calls = [asyncio.create_task(wait()) for _ in range(5)]
    await settle()
    with pytest.raises(Overloaded):
        async with queue.slot():
            pass
    calls[4].cancel()  # one that waits
    calls[0].cancel()  # one that has a slot
    await settle()
    calls.append(asyncio.create_task(wait()))
    release.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [result is None for result in results] == [False, True, True, True, False, True]
    async with queue.slot():
        pass


async def test_who_waits_is_counted_by_the_queue() -> None:
    channels = CallQueue("queued", "channels", at_once=1, most_waiting=9)
    CallQueue("queued", "streams", at_once=1, most_waiting=9)

    async def wait() -> None:
        async with channels.slot():
            await asyncio.sleep(60)

    calls = [asyncio.create_task(wait()) for _ in range(4)]
    await settle()
    assert (waiting("channels"), waiting("streams")) == (3, 0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert waiting("channels") == 0

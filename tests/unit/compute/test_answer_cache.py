"""Shared answers: when a question is asked again, and when not."""

import asyncio
import gc
from weakref import ref

import pytest

from passerelle.compute.answer_cache import AnswerCache
from passerelle.runtime.errors import NotFound

OWNER = ("daint", "alice")
FOREVER = 1000.0


class Source:
    """Something to ask: it answers 1, 2, 3, … while `gate` is open."""

    def __init__(self) -> None:
        self.calls = 0
        self.cancelled = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def ask(self) -> int:
        self.calls += 1
        answer = self.calls
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return answer


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_answer_is_kept() -> None:
    cache, source = AnswerCache(FOREVER), Source()
    assert [await cache.read(OWNER, "q", source.ask) for _ in range(3)] == [1, 1, 1]


async def test_an_answer_is_kept_no_longer_than_told() -> None:
    cache, source = AnswerCache(0.01), Source()
    await cache.read(OWNER, "q", source.ask)
    await asyncio.sleep(0.1)
    assert await cache.read(OWNER, "q", source.ask) == 2


async def test_an_answer_takes_no_memory_after_its_time_also_when_nobody_asks_again() -> None:
    class Answer:
        pass

    async def ask() -> Answer:
        return Answer()

    cache = AnswerCache(0.05)
    answer = ref(await cache.read(OWNER, "q", ask))
    gc.collect()
    assert answer() is not None
    await asyncio.sleep(0.2)
    gc.collect()
    assert answer() is None


async def test_owners_and_questions_are_apart() -> None:
    cache, source = AnswerCache(FOREVER), Source()
    await cache.read(OWNER, "q", source.ask)
    assert await cache.read(OWNER, "other", source.ask) == 2
    assert await cache.read(("daint", "bob"), "q", source.ask) == 3
    assert await cache.read(("eiger", "alice"), "q", source.ask) == 4


async def test_a_question_in_flight_is_asked_once_even_when_nothing_is_kept() -> None:
    cache, source = AnswerCache(0), Source()
    source.gate.clear()
    asking = [asyncio.create_task(cache.read(OWNER, "q", source.ask)) for _ in range(5)]
    await settle()
    source.gate.set()
    assert await asyncio.gather(*asking) == [1] * 5
    assert await cache.read(OWNER, "q", source.ask) == 2


async def test_a_failure_is_told_to_all_who_wait_and_not_kept() -> None:
    cache, source = AnswerCache(FOREVER), Source()
    source.error = NotFound("Job not found.")
    source.gate.clear()
    asking = [asyncio.create_task(cache.read(OWNER, "q", source.ask)) for _ in range(2)]
    await settle()
    source.gate.set()
    reported = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(error) for error in reported] == [NotFound, NotFound]
    source.error = None
    assert await cache.read(OWNER, "q", source.ask) == 2


async def test_a_write_forgets_the_owners_answers_only() -> None:
    cache, source = AnswerCache(FOREVER), Source()
    await cache.read(OWNER, "q", source.ask)
    await cache.read(("daint", "bob"), "q", source.ask)
    cache.forget(OWNER)
    assert await cache.read(OWNER, "q", source.ask) == 3
    assert await cache.read(("daint", "bob"), "q", source.ask) == 2


async def test_a_read_begun_before_a_write_is_not_kept_after_it() -> None:
    cache, source = AnswerCache(FOREVER), Source()
    source.gate.clear()
    before = asyncio.create_task(cache.read(OWNER, "q", source.ask))
    await settle()
    cache.forget(OWNER)
    after = asyncio.create_task(cache.read(OWNER, "q", source.ask))
    await settle()
    source.gate.set()
    assert (await before, await after) == (1, 2)
    assert await cache.read(OWNER, "q", source.ask) == 2


async def test_one_who_goes_away_takes_the_answer_from_nobody() -> None:
    cache, source = AnswerCache(FOREVER), Source()
    source.gate.clear()
    leaving, staying = (asyncio.create_task(cache.read(OWNER, "q", source.ask)) for _ in range(2))
    await settle()
    leaving.cancel()
    await settle()
    source.gate.set()
    assert await staying == 1
    assert source.cancelled == 0


async def test_when_all_go_away_the_asking_ends() -> None:
    cache, source = AnswerCache(FOREVER), Source()
    source.gate.clear()
    asking = [asyncio.create_task(cache.read(OWNER, "q", source.ask)) for _ in range(2)]
    await settle()
    for task in asking:
        task.cancel()
    await settle()
    assert source.cancelled == 1
    source.gate.set()
    assert await cache.read(OWNER, "q", source.ask) == 2


async def test_the_oldest_answers_make_room() -> None:
    cache, source = AnswerCache(FOREVER), Source()
    for number in range(200):
        await cache.read(OWNER, number, source.ask)
    assert await cache.read(OWNER, 0, source.ask) == 201
    assert await cache.read(OWNER, 199, source.ask) == 200


async def test_the_oldest_owners_make_room() -> None:
    cache, source = AnswerCache(FOREVER), Source()
    for number in range(5000):
        await cache.read(number, "q", source.ask)
    assert await cache.read(0, "q", source.ask) == 5001


@pytest.mark.parametrize("seconds", [0, FOREVER])
async def test_an_answer_may_be_false(seconds: float) -> None:
    async def nothing() -> tuple[()]:
        return ()

    assert await AnswerCache(seconds).read(OWNER, "q", nothing) == ()

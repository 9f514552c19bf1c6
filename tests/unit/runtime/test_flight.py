"""Single flight: who shares whose work, and what becomes of it when callers go away."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import pytest

from passerelle.runtime.errors import ApiError, Forbidden, NotFound, Unauthenticated
from passerelle.runtime.flight import Flights, FreshFlights

WHO: ContextVar[str] = ContextVar("who", default="nobody")


class Work:
    """Work that ends when it is let `go`; `begun` counts it, and each result is its number."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.go = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        mine = self.begun
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return mine


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def started(call: Callable[[], Awaitable[int]], count: int = 1) -> "list[asyncio.Task[int]]":
    """So many callers, all waiting."""

    async def run() -> int:
        return await call()

    tasks = [asyncio.create_task(run()) for _ in range(count)]
    await settle()
    return tasks


@pytest.fixture(params=[Flights, FreshFlights, lambda: Flights(lasting=True)])
def flights(request: pytest.FixtureRequest) -> Flights | FreshFlights:
    made: Flights | FreshFlights = request.param()
    return made


async def test_identical_work_is_done_once(flights: Flights | FreshFlights) -> None:
    async def work() -> int:
        calls.append(1)
        return len(calls)

    calls: list[int] = []
    asking = [asyncio.create_task(flights.run("k", work)) for _ in range(5)]
    other = asyncio.create_task(flights.run("other", work))
    assert await asyncio.gather(*asking) == [1] * 5
    assert await other == 2
    assert await flights.run("k", work) == 3


async def test_one_who_goes_away_takes_the_result_from_nobody(
    flights: Flights | FreshFlights,
) -> None:
    work = Work()
    leaving = asyncio.create_task(flights.run("k", work))
    staying = asyncio.create_task(flights.run("k", work))
    await settle()
    leaving.cancel()
    await settle()
    work.go.set()
    assert await staying == 1
    assert (work.begun, work.cancelled) == (1, 0)


@pytest.mark.parametrize("make", [Flights, FreshFlights])
async def test_when_all_go_away_the_work_ends(make: Callable[[], Flights | FreshFlights]) -> None:
    flights, work = make(), Work()
    asking = [asyncio.create_task(flights.run("k", work)) for _ in range(2)]
    await settle()
    for task in asking:
        task.cancel()
    await settle()
    assert work.cancelled == 1
    work.go.set()
    assert await flights.run("k", work) == 2


async def test_a_deadline_is_that_of_one_caller() -> None:
    flights, work = Flights(), Work()
    (staying,) = await started(lambda: flights.run("k", work))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await flights.run("k", work)
    work.go.set()
    assert await staying == 1


async def test_who_comes_after_the_last_left_begins_anew() -> None:
    """Also while the cancelled work still tidies up."""
    flights, tidied = Flights(), asyncio.Event()

    async def slow_to_end() -> int:
        try:
            await asyncio.sleep(60)
        finally:
            await tidied.wait()
        return 0

    (leaving,) = await started(lambda: flights.run("k", slow_to_end))
    leaving.cancel()
    await settle()
    work = Work()
    work.go.set()
    assert await flights.run("k", work) == 1
    tidied.set()
    await settle()
    assert len(flights) == 0


async def test_lasting_work_goes_on_when_all_are_gone() -> None:
    flights, work = Flights(lasting=True), Work()
    (leaving,) = await started(lambda: flights.run("k", work))
    leaving.cancel()
    (later,) = await started(lambda: flights.run("k", work))
    work.go.set()
    assert await later == 1


async def test_closing_cancels_all_and_waits() -> None:
    flights, work = Flights(lasting=True), Work()
    tasks = await started(lambda: flights.run("k", work), 2)
    await flights.close()
    assert (work.cancelled, len(flights)) == (1, 0)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * 2


async def test_an_error_reaches_all_and_is_not_kept(flights: Flights | FreshFlights) -> None:
    outcomes: list[Exception | int] = [NotFound("gone"), 5]

    async def work() -> int:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    asking = [asyncio.create_task(flights.run("k", work)) for _ in range(3)]
    results = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(result) for result in results] == [NotFound] * 3
    assert await flights.run("k", work) == 5


@pytest.mark.parametrize("refusal", [Unauthenticated, Forbidden])
async def test_a_refusal_is_only_for_whom_it_is_about(
    flights: Flights | FreshFlights, refusal: type[ApiError]
) -> None:
    """Whoever asks first may have a token that ends now; the others' are none the worse for it."""

    async def work() -> int:
        await asyncio.sleep(0)
        if WHO.get() == "late":
            raise refusal("too late")
        return 1

    async def ask(who: str) -> int:
        WHO.set(who)
        return await flights.run("k", work)

    asking = [asyncio.create_task(ask(who)) for who in ("late", "alice", "late", "bob")]
    results = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(results[0], refusal)
    assert results[1] == results[3] == 1


async def test_the_work_runs_in_the_context_of_who_asked_first() -> None:
    flights, go = Flights(), asyncio.Event()

    async def work() -> str:
        await go.wait()
        result = WHO.get()
        WHO.set("changed by the work")
        return result

    async def ask(who: str) -> tuple[str, str]:
        WHO.set(who)
        return await flights.run("k", work), WHO.get()

    asking = [asyncio.create_task(ask(who)) for who in ("alice", "bob")]
    await settle()
    go.set()
    assert await asyncio.gather(*asking) == [("alice", "alice"), ("alice", "bob")]


async def test_work_that_fails_after_all_have_gone_is_no_noise() -> None:
    """pytest turns asyncio's complaint about an exception that nobody saw into a failure."""
    flights = Flights()

    async def work() -> int:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise NotFound("gone") from None
        return 0

    (leaving,) = await started(lambda: flights.run("k", work))
    leaving.cancel()
    await settle()
    assert len(flights) == 0


async def test_who_comes_during_work_that_must_be_fresh_shares_the_next() -> None:
    flights, work = FreshFlights(), Work()
    (first,) = await started(lambda: flights.run("k", work))
    later = await started(lambda: flights.run("k", work), 5)
    (other,) = await started(lambda: flights.run("other", work))
    assert work.begun == 2  # the first and the other
    work.go.set()
    assert await first == 1
    assert await other == 2
    assert await asyncio.gather(*later) == [3] * 5


async def test_fresh_work_that_waits_is_cancelled_with_its_last_caller() -> None:
    flights, work = FreshFlights(), Work()
    (first,) = await started(lambda: flights.run("k", work))
    (waiting,) = await started(lambda: flights.run("k", work))
    waiting.cancel()
    await settle()
    work.go.set()
    assert await first == 1
    assert work.begun == 1
    assert await flights.run("k", work) == 2

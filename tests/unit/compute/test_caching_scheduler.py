"""A scheduler whose answers are shared: which methods of the port those are is said by the port."""

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from passerelle.compute.answer_cache import AnswerCache
from passerelle.compute.caching_scheduler import cached
from passerelle.compute.scheduler import JobDescription, JobFilter, ProgramMissing, Scheduler
from passerelle.runtime import caller
from passerelle.runtime.errors import Unsupported

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "submit": (JobDescription("/"),),
    "jobs": (JobFilter(),),
    "job": ("7",),
    "metadata": ("7",),
    "attach": ("7", "true"),
    "cancel": ("7",),
}
METHODS = [name for name, _ in inspect.getmembers(Scheduler, inspect.iscoroutinefunction)]
CHANGING = {"submit", "attach", "cancel"}


class Counting(Scheduler):
    """Answers every method with how often it was asked; or raises `error`."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: Exception | None = None

    def is_job_id(self, text: str) -> bool:
        """See `Scheduler.is_job_id`."""
        return text == "7"

    def __getattribute__(self, name: str) -> Any:
        return self._count if name in METHODS else super().__getattribute__(name)

    async def _count(self, *arguments: Any) -> int:
        await asyncio.sleep(0)
        self.calls += 1
        if self.error:
            raise self.error
        return self.calls

    submit = jobs = job = cancel = ping = _count  # type: ignore[assignment]


@pytest.fixture(autouse=True)
def alice() -> Iterator[None]:
    with caller.bind(caller.Caller("alice", "")):
        yield


def ask(scheduler: Scheduler, method: str) -> Any:
    return getattr(scheduler, method)(*ARGUMENTS.get(method, ()))


@pytest.mark.parametrize("method", METHODS)
async def test_what_changes_nothing_is_asked_once(method: str) -> None:
    scheduler = cached(Counting(), "daint", AnswerCache(60))
    answers = [await ask(scheduler, method), await ask(scheduler, method)]
    assert (len(set(answers)) == 1) == (method not in CHANGING | {"ping"})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("error", [None, Unsupported("no")])
async def test_what_changes_something_ends_what_was_answered(
    method: str, error: Exception | None
) -> None:
    counting = Counting()
    scheduler = cached(counting, "daint", AnswerCache(60))
    before = await ask(scheduler, "nodes")
    counting.error = error
    await asyncio.gather(ask(scheduler, method), return_exceptions=True)
    counting.error = None
    assert (await ask(scheduler, "nodes") == before) == (method not in CHANGING)


async def test_other_arguments_are_another_question() -> None:
    scheduler = cached(Counting(), "daint", AnswerCache(60))
    assert await scheduler.job("7") != await scheduler.job("8")


@pytest.mark.parametrize("method", METHODS)
async def test_a_missing_program_is_said_of_the_system(method: str) -> None:
    counting = Counting()
    counting.error = ProgramMissing("sbatch")
    with pytest.raises(ProgramMissing, match="System daint: sbatch"):
        await ask(cached(counting, "daint", AnswerCache(60)), method)


def test_it_has_the_ports_methods_and_no_others() -> None:
    scheduler = cached(Counting(), "daint", AnswerCache(60))
    assert scheduler.is_job_id("7")
    with pytest.raises(AttributeError):
        _ = scheduler.calls  # type: ignore[attr-defined]


class Least(Scheduler):
    """A scheduler that does what it must."""

    def is_job_id(self, text: str) -> bool:
        """See `Scheduler.is_job_id`."""
        return True

    async def submit(self, job: JobDescription) -> str:
        """See `Scheduler.submit`."""
        return "7"

    async def jobs(self, wanted: JobFilter) -> tuple[()]:
        """See `Scheduler.jobs`."""
        return ()

    async def job(self, job_id: str) -> tuple[()]:
        """See `Scheduler.job`."""
        return ()

    async def cancel(self, job_id: str) -> None:
        """See `Scheduler.cancel`."""

    async def ping(self) -> str:
        """See `Scheduler.ping`."""
        return "here"


@pytest.mark.parametrize("method", sorted({*METHODS} - {"submit", "jobs", "job", "cancel", "ping"}))
async def test_what_a_plugin_does_not_have_is_unsupported(method: str) -> None:
    with pytest.raises(Unsupported, match=r"^This system's scheduler "):
        await ask(Least(), method)

"""Jobs from two sources: the controller, which forgets them, and a history, which is slow and whose answers are kept.

The controller is asked first: it knows everything about jobs that wait or run, and answers ten times faster than a
database (Slurm's takes some 90 ms). Answers of the history are kept per user, because a scheduler may show users
different things, and bounded: the oldest goes first.
"""

import time
from collections.abc import Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from cachetools import LRUCache, TTLCache

from passerelle.compute.scheduler import Job, JobFilter
from passerelle.compute.schedulers.command_line.concurrency import both
from passerelle.compute.schedulers.command_line.errors import job_not_found
from passerelle.runtime import caller
from passerelle.runtime.computation import computed
from passerelle.runtime.errors import BackendUnavailable, NotFound

V = TypeVar("V")

_MAX_ENDED = 4096
_MAX_JOBS = 100_000  # in all histories that are kept; each takes some 1.5 KiB


class LiveJobs(Protocol):
    """The controller's jobs: those that wait, that run, and that ended recently."""

    async def jobs(self, wanted: JobFilter) -> tuple[Job, ...]:
        """The wanted jobs, whatever their names."""
        ...

    async def job(self, job_id: str) -> tuple[Job, ...]:
        """The jobs of an id; none when the controller does not know it."""
        ...

    def is_complete(self, job: Job, requested: str) -> bool:
        """Whether the history has nothing to add to this job, which is one of those of the requested id."""
        ...


class PastJobs(Protocol):
    """The history's jobs. Methods raise BackendUnavailable when it does not answer."""

    async def jobs(self, wanted: JobFilter) -> tuple[Job, ...]:
        """The wanted jobs, whatever their names; none where there is no history."""
        ...

    async def job(self, job_id: str, *, is_live: bool = False) -> tuple[Job, ...]:
        """The jobs of an id; none where there are none. Where the controller has it (`is_live`), the wait is short."""
        ...


Merge = Callable[[Sequence[Job], Sequence[Job]], tuple[Job, ...]]
"""Merges the history's jobs and the controller's into one list, by id."""


class RecordedJobs:
    """Jobs from the controller and from the history, whose lists are kept for `seconds`."""

    def __init__(self, live: LiveJobs, past: PastJobs, merge: Merge, seconds: float) -> None:
        self._live = live
        self._past = past
        self._merge = merge
        self._ended = EndedJobs()
        self._histories = Histories(seconds)

    async def jobs(self, wanted: JobFilter) -> tuple[Job, ...]:
        """The wanted jobs, whatever their names."""
        stored = self._histories.get(_key(wanted))
        if stored is None:
            live, history = await both(self._live.jobs(wanted), self._history(wanted))
        else:
            live = await self._live.jobs(wanted)
            missing = lacking(stored.jobs, live)
            history = await self._history(wanted, missing) if missing - stored.awaited else stored
        return await computed(
            lambda: self._merge(history.jobs, live),
            len(live) + len(history.jobs),
        )

    async def job(self, job_id: str) -> tuple[Job, ...]:
        """The jobs of an id; NotFound when there are none.

        The history is asked only about what the controller does not know, or knows to have ended.
        """
        try:
            live = await self._live.job(job_id)
        except BackendUnavailable as error:
            return await instead(error, self._over(job_id))
        if live and all(self._live.is_complete(job, job_id) for job in live):
            return self._merge((), live)
        user = caller.current().username
        ended_job = self._ended.get(user, job_id, live)
        if ended_job is not None:
            return ended_job
        history = await self._past.job(job_id, is_live=bool(live))
        jobs = self._merge(history, live)
        if not jobs:
            raise job_not_found()
        if not lacking(history, live):
            self._ended.keep(user, job_id, jobs)
        return jobs

    async def _history(self, wanted: JobFilter, awaited: frozenset[str] = frozenset()) -> "History":
        """A new list from the history."""
        return self._histories.put(_key(wanted), await self._past.jobs(wanted), awaited)

    async def _over(self, job_id: str) -> tuple[Job, ...]:
        """The ended jobs of an id, for which the history is reliable. Raises NotFound when one has not ended."""
        jobs = await self._past.job(job_id)
        if not jobs or not all(has_end(job) for job in jobs):
            raise job_not_found()
        return jobs


async def instead(error: BackendUnavailable, ask: Coroutine[Any, Any, V]) -> V:
    """The history's answer when the controller has none. Raises `error` when the history does not know the job."""
    if type(error) is not BackendUnavailable:  # its subclasses are about the way there
        ask.close()
        raise error
    try:
        return await ask
    except (BackendUnavailable, NotFound):
        raise error from None


def lacking(history: Sequence[Job], live: Sequence[Job]) -> frozenset[str]:
    """The ids of jobs that the controller knows to have ended, and whose end the history does not have."""
    recorded = {job.id for job in history if has_end(job)}
    return frozenset(job.id for job in live if job.status.state.ended) - recorded


def has_end(job: Job) -> bool:
    """Whether a record of the history has the job's end.

    Its state alone is not enough: a job may end before the message of its start is sent to Slurm's database. The record
    then has the state of the end, but neither its time nor an exit code.
    """
    return job.status.state.ended and job.time.end is not None


def _key(wanted: JobFilter) -> tuple[str, JobFilter]:
    return caller.current().username, replace(wanted, name=None)


class EndedJobs:
    """Records of jobs that are over for good; by user and job id."""

    def __init__(self) -> None:
        self._jobs: LRUCache[tuple[str, str], tuple[Job, ...]] = LRUCache(_MAX_ENDED)

    def keep(self, user: str, job_id: str, jobs: Sequence[Job]) -> None:
        """Remember the jobs of an id, if there are any and the ends of all are known."""
        if jobs and all(has_end(job) for job in jobs):
            self._jobs[user, job_id] = tuple(jobs)

    def get(self, user: str, job_id: str, live: Sequence[Job]) -> tuple[Job, ...] | None:
        """The remembered jobs, unless the controller's `live` ones differ: a job that was requeued runs again."""
        jobs = self._jobs.get((user, job_id))
        if jobs is None:
            return None
        ends = {job.id: job.time.end for job in jobs}
        same = all(job.status.state.ended and ends.get(job.id) == job.time.end for job in live)
        return jobs if same else None


@dataclass(frozen=True)
class History:
    """The jobs that the history listed; `awaited` are the ended ones that the query was for."""

    jobs: tuple[Job, ...]
    awaited: frozenset[str] = field(default=frozenset())


class Histories:
    """Lists of jobs from the history, for `seconds` each; when they become too many jobs, the oldest list goes."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._histories: TTLCache[Hashable, History] = TTLCache(
            _MAX_JOBS, seconds, timer=clock, getsizeof=_size
        )

    def get(self, key: Hashable) -> History | None:
        """The history, if it is fresh."""
        return self._histories.get(key)

    def put(
        self, key: Hashable, jobs: tuple[Job, ...], awaited: frozenset[str] = frozenset()
    ) -> History:
        """Remember a new list, and return it as a History."""
        history = History(jobs, awaited)
        if _size(history) <= _MAX_JOBS:
            self._histories[key] = history
        return history


def _size(history: History) -> int:
    """How many jobs it has room for: an empty history takes some, too."""
    return len(history.jobs) + 1

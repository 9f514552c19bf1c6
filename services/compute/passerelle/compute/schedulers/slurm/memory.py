"""What the accounting database said, remembered: each of its answers costs some 90 ms.

Everything is kept per user, because Slurm may show users different things, and bounded: the oldest goes first.
"""

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from cachetools import LRUCache, TTLCache

from passerelle.compute.scheduler import Job

_MAX_ENDED = 4096
_MAX_HISTORIES = 256
_MAX_HISTORY_JOBS = 20_000  # a longer history is not kept


def lacking(history: Sequence[Job], queue: Sequence[Job]) -> frozenset[str]:
    """The ids of ended jobs in slurmctld's `queue` that accounting does not have as ended."""
    recorded = {job.id for job in history if job.status.state.ended}
    return frozenset(job.id for job in queue if job.status.state.ended) - recorded


class EndedJobs:
    """Records of jobs that are over for good; by user and job id."""

    def __init__(self) -> None:
        self._jobs: LRUCache[tuple[str, str], tuple[Job, ...]] = LRUCache(_MAX_ENDED)

    def keep(self, user: str, job_id: str, jobs: Sequence[Job]) -> None:
        """Remember the jobs of an id, if there are any and all have ended."""
        if jobs and all(job.status.state.ended for job in jobs):
            self._jobs[user, job_id] = tuple(jobs)

    def get(self, user: str, job_id: str, queue: Sequence[Job]) -> tuple[Job, ...] | None:
        """The remembered jobs, unless slurmctld's `queue` shows otherwise: a job that was requeued runs again."""
        jobs = self._jobs.get((user, job_id))
        if jobs is None:
            return None
        ends = {job.id: job.time.end for job in jobs}
        same = all(job.status.state.ended and ends.get(job.id) == job.time.end for job in queue)
        return jobs if same else None


@dataclass(frozen=True)
class History:
    """The jobs accounting listed; `awaited` are ended ones for whose sake it was asked."""

    jobs: tuple[Job, ...]
    awaited: frozenset[str] = field(default=frozenset())


class Histories:
    """Lists of jobs from the accounting database, for `seconds` each."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._known: TTLCache[Hashable, History] = TTLCache(_MAX_HISTORIES, seconds, timer=clock)

    def get(self, key: Hashable) -> History | None:
        """The history, if it is fresh."""
        return self._known.get(key)

    def put(
        self, key: Hashable, jobs: tuple[Job, ...], awaited: frozenset[str] = frozenset()
    ) -> History:
        """Remember a new list, and return it as a History."""
        history = History(jobs, awaited)
        if len(jobs) <= _MAX_HISTORY_JOBS:
            self._known[key] = history
        return history

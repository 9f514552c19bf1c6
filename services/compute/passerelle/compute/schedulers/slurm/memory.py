"""What the accounting database said, remembered: each of its answers costs some 90 ms.

Everything is kept per user, because Slurm may show users different things, and bounded: the oldest goes first.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from passerelle.compute.scheduler import Job

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_MAX_ENDED = 4096
_MAX_HISTORIES = 256
_MAX_HISTORY_JOBS = 20_000  # a longer history is not kept


def lacking(history: Sequence[Job], queue: Sequence[Job]) -> frozenset[str]:
    """The ids of ended jobs in slurmctld's `queue` that accounting does not have as ended."""
    recorded = {job.id for job in history if job.status.state.ended}
    return frozenset(job.id for job in queue if job.status.state.ended) - recorded


class Newest(Generic[K, V]):
    """A mapping that keeps its `size` last used entries."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The entry, made the newest; None when it is not there."""
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def put(self, key: K, value: V) -> None:
        """Set the entry, and forget the oldest one when there are too many."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)


class EndedJobs:
    """Records of jobs that are over for good; by user and job id."""

    def __init__(self) -> None:
        self._jobs: Newest[tuple[str, str], tuple[Job, ...]] = Newest(_MAX_ENDED)

    def keep(self, user: str, job_id: str, jobs: Sequence[Job]) -> None:
        """Remember the jobs of an id, if there are any and all have ended."""
        if jobs and all(job.status.state.ended for job in jobs):
            self._jobs.put((user, job_id), tuple(jobs))

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
    """The jobs accounting listed `at` a time; `awaited` are ended ones for whose sake it was asked."""

    jobs: tuple[Job, ...]
    at: float
    awaited: frozenset[str] = field(default=frozenset())


class Histories:
    """Lists of jobs from the accounting database, for `seconds` each."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._known: Newest[Hashable, History] = Newest(_MAX_HISTORIES)

    def get(self, key: Hashable) -> History | None:
        """The history, if it is fresh."""
        found = self._known.get(key)
        fresh = found is not None and self._clock() - found.at < self._seconds
        return found if fresh else None

    def put(
        self, key: Hashable, jobs: tuple[Job, ...], awaited: frozenset[str] = frozenset()
    ) -> History:
        """Remember a new list, and return it as a History."""
        history = History(jobs, self._clock(), awaited)
        if len(jobs) <= _MAX_HISTORY_JOBS:
            self._known.put(key, history)
        return history

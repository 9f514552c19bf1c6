"""A scheduler whose answers are shared and kept for a moment; see `queries`."""

import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from passerelle.compute import scheduler as port
from passerelle.compute.queries import Queries
from passerelle.runtime import caller

T = TypeVar("T")

log = logging.getLogger(__name__)


class SharedScheduler:
    """The `Scheduler` port in front of `scheduler`, the one of `system`."""

    def __init__(self, scheduler: port.Scheduler, system: str, queries: Queries) -> None:
        self._scheduler = scheduler
        self._system = system
        self._queries = queries

    def is_job_id(self, text: str) -> bool:
        """See `Scheduler.is_job_id`."""
        return self._scheduler.is_job_id(text)

    async def submit(self, job: port.JobDescription) -> str:
        """See `Scheduler.submit`."""
        async with self._writing():
            return await self._scheduler.submit(job)

    async def jobs(self, wanted: port.JobFilter) -> Sequence[port.Job]:
        """See `Scheduler.jobs`."""
        return await self._read(("jobs", wanted), lambda: self._scheduler.jobs(wanted))

    async def job(self, job_id: str) -> Sequence[port.Job]:
        """See `Scheduler.job`."""
        return await self._read(("job", job_id), lambda: self._scheduler.job(job_id))

    async def metadata(self, job_id: str) -> port.JobMetadata:
        """See `Scheduler.metadata`."""
        return await self._read(("metadata", job_id), lambda: self._scheduler.metadata(job_id))

    async def attach(self, job_id: str, command: str) -> None:
        """See `Scheduler.attach`."""
        async with self._writing():
            await self._scheduler.attach(job_id, command)

    async def cancel(self, job_id: str) -> None:
        """See `Scheduler.cancel`."""
        async with self._writing():
            await self._scheduler.cancel(job_id)

    async def nodes(self) -> Sequence[port.Node]:
        """See `Scheduler.nodes`."""
        return await self._read("nodes", self._scheduler.nodes)

    async def partitions(self) -> Sequence[port.Partition]:
        """See `Scheduler.partitions`."""
        return await self._read("partitions", self._scheduler.partitions)

    async def reservations(self) -> Sequence[port.Reservation]:
        """See `Scheduler.reservations`."""
        return await self._read("reservations", self._scheduler.reservations)

    async def user_info(self) -> port.UserInfo:
        """See `Scheduler.user_info`."""
        return await self._read("user_info", self._scheduler.user_info)

    async def ping(self) -> str:
        """See `Scheduler.ping`. Asked anew each time: a health check wants to know about now."""
        with self._named():
            return await self._scheduler.ping()

    @property
    def _owner(self) -> tuple[str, str]:
        return self._system, caller.current().username

    async def _read(self, question: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        with self._named():
            return await self._queries.read(self._owner, question, ask)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        """Forget the user's answers after a write, also after a failed one: it may have come through."""
        try:
            with self._named():
                yield
        finally:
            self._queries.written(self._owner)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Say of which system a program is missing: that is its operator's to mend."""
        try:
            yield
        except port.ProgramMissing as error:
            named = port.ProgramMissing(error.program, self._system)
            log.warning("%s", named.detail)
            raise named from None

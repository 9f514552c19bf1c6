"""Copies between systems through the object store that both stage with.

A job on the source's side puts the file there, a job on the target's side fetches it into the upload that becomes the
target. No byte of it passes the gateway.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from itertools import product
from typing import Any, Protocol, runtime_checkable

from passerelle.runtime.errors import (
    ApiError,
    BackendError,
    BackendUnavailable,
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
)
from passerelle.storage.jobs.port import SubmittedJob
from passerelle.storage.transfers.copies import (
    Copy,
    CopyProgress,
    CopySpec,
    ended,
    on,
    require_free,
    working,
)
from passerelle.storage.values import Excerpt

_PAUSE = 2.0  # seconds between two looks at a job
_FAILED_POLLS = 30  # polls in a row for a job that compute does not list, or cannot be asked about
_WORDS = 2000  # bytes of a job's error log that are passed on


class Jobs(Protocol):
    """The compute service, as the current caller."""

    async def succeeded(self, system: str, job_id: str) -> bool | None:
        """Whether a job ended well; None while it has not ended."""
        ...

    async def cancel(self, system: str, job_id: str) -> None:
        """End a job."""
        ...


@runtime_checkable
class Depot(Protocol):
    """A staging method whose store can be the way from one system to another; `store` names it."""

    @property
    def store(self) -> str:
        """Two methods with the same store can take each other's objects."""
        ...

    async def send(self, path: str, account: str | None) -> tuple[SubmittedJob, Any]:
        """Submit a job that puts a file into the store; that job, and the object it will be."""
        ...

    async def fetch(self, stored: Any, path: str, account: str | None) -> SubmittedJob:
        """Submit a job that waits for the object, makes it the file `path`, and removes it."""
        ...

    async def discard(self, stored: Any) -> None:
        """Give up an object that is not complete yet."""
        ...


class ByStore:
    """Through the store that both systems stage with; there is nothing to resume, for the jobs leave no parts."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def copy(self, spec: CopySpec) -> AsyncGenerator[CopyProgress, None]:
        """See `Route.copy`; FailedPrecondition where the two systems have no store in common."""
        source, target = _depots(spec)
        await require_free(spec)
        with on(spec.source):
            info = await spec.source.files.stat(spec.path, dereference=True)
        relay = _Relay(spec, Copy(spec, info.version, info.size), self._jobs)
        try:
            await relay.begin(source, target)
            yield relay.progress()
            async with working(relay.finish()) as work:
                while not await ended(work):
                    yield relay.progress()
                sha256 = work.result()
        except BaseException:
            await asyncio.shield(asyncio.create_task(relay.give_up()))
            raise
        yield relay.progress(sha256)


class _Relay:
    """One copy at work."""

    def __init__(self, spec: CopySpec, copy: Copy, jobs: Jobs) -> None:
        self._spec = spec
        self._copy = copy
        self._jobs = jobs
        self._submitted: tuple[SubmittedJob, ...] = ()
        self._taken = 0
        self._failed_polls = 0
        self._discard: Callable[[], Awaitable[None]] | None = None

    def progress(self, sha256: str = "") -> CopyProgress:
        """How far it is."""
        return CopyProgress(self._taken, self._copy.size, 0, self._submitted, sha256)

    async def begin(self, source: Depot, target: Depot) -> None:
        """Submit both jobs; the second waits for what the first one brings."""
        spec = self._spec
        await self._copy.begin()
        with on(spec.source):
            job, stored = await source.send(spec.path, spec.account)
        self._discard = partial(source.discard, stored)
        self._submitted = (job,)
        with on(spec.target):
            part = await spec.target.uploads.part(spec.target_path, self._copy.upload)
            self._submitted += (await target.fetch(stored, part, spec.target_account),)
        for system in (spec.source, spec.target):
            system.staging.look_after()

    async def finish(self) -> str:
        """Wait for the jobs, compare both ends, and put it in its place; the checksum."""
        for job in self._submitted:
            while not await self._ended(job):  # noqa: ASYNC110  # there is nobody here to tell us
                await asyncio.sleep(_PAUSE)
        self._taken = self._copy.size
        sha256 = await self._copy.checksum()
        await self._copy.complete(sha256)
        return sha256

    async def _ended(self, job: SubmittedJob) -> bool:
        """Whether the job ended well; BackendError when it failed, in the words of its log."""
        try:
            good = await self._jobs.succeeded(job.system, job.job_id)
        except (NotFound, BackendUnavailable, DeadlineExceeded):
            # Not known yet, or not reached now.
            self._failed_polls += 1
            if self._failed_polls > _FAILED_POLLS:
                raise
            return False
        self._failed_polls = 0
        if good is False:
            words = await self._log_end(job)
            raise BackendError(
                f"Job {job.job_id} on system {job.system}, which had to carry the file, failed: {words}",
                system=job.system,
            )
        return bool(good)

    async def _log_end(self, job: SubmittedJob) -> str:
        """What a job complained about at last."""
        systems = (self._spec.source, self._spec.target)
        system = next(system for system in systems if system.config.name == job.system)
        with suppress(ApiError):
            last = Excerpt("bytes", _WORDS, from_end=True, before=False)
            log_end = await system.files.excerpt(job.error_log, last, _WORDS)
            return log_end.decode(errors="replace").strip() or "it said nothing"
        return f"see {job.error_log}"

    async def give_up(self) -> None:
        """Cancel the jobs, and remove what they left, as far as that can be done."""
        for job in self._submitted:
            with suppress(ApiError):
                await self._jobs.cancel(job.system, job.job_id)
        if self._discard is not None:
            await self._discard()
        with suppress(ApiError):
            await self._copy.give_up()


def _depots(spec: CopySpec) -> tuple[Depot, Depot]:
    """How both systems stage, with one store."""
    methods = (system.staging.methods.values() for system in (spec.source, spec.target))
    for source, target in product(*methods):
        if isinstance(source, Depot) and isinstance(target, Depot) and source.store == target.store:
            return source, target
    names = (spec.source.config.name, spec.target.config.name)
    raise FailedPrecondition(f"Systems {names[0]} and {names[1]} stage with no store in common.")

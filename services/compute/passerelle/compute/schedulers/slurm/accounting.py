"""Queries to Slurm's accounting database, which may be down, slow, or not installed."""

import asyncio

from passerelle.compute.scheduler import Account, Job, JobFilter, JobMetadata, ProgramMissing
from passerelle.compute.schedulers.command_line.concurrency import both
from passerelle.compute.schedulers.command_line.errors import job_not_found
from passerelle.compute.schedulers.slurm import commands, site
from passerelle.compute.schedulers.slurm.ids import of_requested
from passerelle.compute.schedulers.slurm.stream_paths import Streams
from passerelle.runtime.command import Command, Shell, T
from passerelle.runtime.errors import (
    BackendError,
    BackendUnavailable,
    DeadlineExceeded,
    NotFound,
    Unsupported,
)

_PATIENCE = 3.0  # seconds


class Accounting:
    """Queries to slurmdbd: the `PastJobs` of Slurm. All raise BackendUnavailable when it does not answer."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    async def jobs(self, wanted: JobFilter) -> tuple[Job, ...]:
        """The wanted jobs; none where there is no accounting."""
        try:
            return await self._ask(
                commands.history_command(*commands.history_options(wanted)), None
            )
        except Unsupported:
            return ()

    async def job(self, job_id: str, *, is_live: bool = False) -> tuple[Job, ...]:
        """The records of one id; none where there are none, or no accounting.

        For a job that slurmctld has (`is_live`), the wait is short, and there are none when the database is down.
        """
        try:
            ask = commands.history_command(f"--jobs={job_id}")
            return of_requested(await self._ask(ask, _PATIENCE if is_live else None), job_id)
        except (NotFound, Unsupported):
            return ()
        except BackendUnavailable:
            if not is_live:
                raise
            return ()

    async def metadata(self, job_id: str) -> JobMetadata:
        """The stored batch script and streams. Raises NotFound for an unknown job."""
        script_answer = self._ask(commands.archived_script_command(job_id), None)
        try:
            script, streams = await both(script_answer, self._streams(job_id))
        except Unsupported:  # there is no accounting
            raise job_not_found() from None
        if streams is None:
            streams = await self._ask(commands.submit_line_command(job_id, script), None)
        return streams.metadata(job_id, script)

    async def _streams(self, job_id: str) -> Streams | None:
        """The stored streams; None where it stores none."""
        try:
            return await self._ask(commands.archived_streams_command(job_id), None)
        except Unsupported:
            return None

    async def accounts(self, user: str) -> tuple[Account, ...] | None:
        """The user's accounts; None where there are none, or no accounting."""
        try:
            return await self._ask(site.accounts_command(user), None) or None
        except (BackendError, ProgramMissing, Unsupported):
            return None

    async def _ask(self, command: Command[T], patience: float | None) -> T:
        try:
            async with asyncio.timeout(patience):
                return await self._shell.run(command)
        except (DeadlineExceeded, TimeoutError):
            detail = "Slurm's accounting database does not answer."
            raise BackendUnavailable(detail) from None

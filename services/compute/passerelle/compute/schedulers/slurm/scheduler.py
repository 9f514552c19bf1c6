"""The Scheduler port on Slurm's command line, in the fewest round trips."""

from collections.abc import Iterator
from dataclasses import replace

from pydantic import Field

from passerelle.compute.scheduler import (
    Job,
    JobDescription,
    JobFilter,
    JobMetadata,
    UserInfo,
)
from passerelle.compute.schedulers.command_line.concurrency import both
from passerelle.compute.schedulers.command_line.history import RecordedJobs, instead
from passerelle.compute.schedulers.slurm import commands, failures, ids, submission
from passerelle.compute.schedulers.slurm.accounting import Accounting
from passerelle.compute.schedulers.slurm.job_outputs import merge
from passerelle.compute.schedulers.slurm.queue import Queue
from passerelle.compute.schedulers.slurm.site import SiteQuestions
from passerelle.runtime.command import Command, Shell
from passerelle.runtime.config.sections import Section
from passerelle.runtime.config.system_trials import programs
from passerelle.runtime.config.trials import SystemLogin, Trial
from passerelle.runtime.errors import BackendUnavailable, NotFound


class Slurm(SiteQuestions):
    """Slurm, by its commands on the login node, as the current caller."""

    job_id_variable = "SLURM_JOB_ID"

    class Options(Section):
        """The options of the `slurm` scheduler."""

        history_cache_seconds: float = Field(default=10.0, ge=0)
        """How long a list from the accounting database is reused, per user, s. A job that ends in the meantime is
        noticed all the same."""

        def login_trials(self, login: SystemLogin) -> Iterator[Trial]:
            """See `Section.login_trials`."""
            needed = ("bash", "sed", *failures.ERRORS.programs)
            yield programs(login, needed, ("sinfo", "--version"))

    def __init__(self, shell: Shell, options: Options) -> None:
        super().__init__(shell, options)
        self._plain = shell  # attached commands are not ended early
        self._accounting = Accounting(shell)
        self._queue = Queue(self.shell)
        seconds = options.history_cache_seconds
        self._records = RecordedJobs(self._queue, self._accounting, merge, seconds)

    def is_job_id(self, text: str) -> bool:
        """See `Scheduler.is_job_id`."""
        return ids.is_job_id(text)

    async def submit(self, job: JobDescription) -> str:
        """See `Scheduler.submit`."""
        await self.shell.reach()
        return await submission.submit(self.shell, job)

    async def listed(self, wanted: JobFilter) -> tuple[Job, ...]:
        """See `CommandLineScheduler.listed`."""
        return await self._records.jobs(wanted)

    async def looked_up(self, job_id: str) -> tuple[Job, ...]:
        """See `CommandLineScheduler.looked_up`."""
        return await self._records.job(job_id)

    async def metadata(self, job_id: str) -> JobMetadata:
        """See `Scheduler.metadata`. Of jobs that slurmctld does not tell of accounting does."""
        self.checked(job_id)
        try:
            streams, script = await both(
                self.shell.run(commands.streams_command(job_id)),
                self.shell.run(commands.script_command(job_id)),
            )
        except NotFound:
            return await self._accounting.metadata(job_id)
        except BackendUnavailable as error:
            return await instead(error, self._accounting.metadata(job_id))
        return streams.metadata(job_id, script)

    async def attach(self, job_id: str, command: str) -> None:
        """See `Scheduler.attach`. The command's output is dropped; FailedPrecondition when it or the job fails it.

        Of a heterogeneous job one component has to be named. Without slurmctld srun would try until time runs out, so
        that is asked first.
        """
        self.checked(job_id)
        await self.ping()
        job, _, component = job_id.partition("+")
        if job_id != ids.whole_job(job_id):
            number = await self._queue.number(job_id)
            job = job if component else number
        try:
            await self._plain.run(commands.attach_command(job, command, component))
        except failures.Heterogeneous as error:
            raise error.extended(f"Name one of its components, such as {job}+0.") from None

    async def user_info(self) -> UserInfo:
        """See `Scheduler.user_info`. Accounts come from slurmctld, or from accounting where that does not tell."""
        user = await super().user_info()
        if user.accounts is not None:
            return user
        return replace(user, accounts=await self._accounting.accounts(user.user.name))

    def cancel_command(self, job_id: str) -> Command[None]:
        """See `CommandLineScheduler.cancel_command`."""
        return commands.cancel_command(job_id)

"""The Scheduler port on Slurm's command line: which commands answer a question, in the fewest round trips.

slurmctld is asked before slurmdbd: it knows everything about jobs that wait or run, and answers ten times faster.
"""

from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field

from passerelle.compute.scheduler import (
    Job,
    JobDescription,
    JobFilter,
    JobMetadata,
    Node,
    Partition,
    Reservation,
    State,
    Step,
    UserInfo,
)
from passerelle.compute.schedulers.slurm import commands, failures, submission
from passerelle.compute.schedulers.slurm.accounting import Accounting
from passerelle.compute.schedulers.slurm.job_outputs import merge
from passerelle.compute.schedulers.slurm.memory import EndedJobs, Histories, History, lacking
from passerelle.compute.schedulers.slurm.spellings import (
    is_component,
    is_job_id,
    is_task,
    whole_job,
)
from passerelle.compute.schedulers.slurm.together import both
from passerelle.compute.schedulers.slurm.watched import Watched
from passerelle.runtime import caller
from passerelle.runtime.command import Shell, T
from passerelle.runtime.config.sections import Section
from passerelle.runtime.config.system_trials import programs
from passerelle.runtime.config.trials import LoggedIn, Trial
from passerelle.runtime.errors import BackendUnavailable, NotFound

_PROGRAMS = (
    *(
        "bash",
        "sed",
        "sbatch",
        "squeue",
        "scancel",
        "scontrol",
        "sinfo",
        "srun",
        "sacct",
        "sacctmgr",
    ),
)
_LIVE = (State.PENDING, State.RUNNING)


class Slurm:
    """Slurm, by its commands on the login node, as the current caller."""

    class Options(Section):
        """The options of the `slurm` scheduler."""

        history_cache_seconds: float = Field(
            default=10.0,
            ge=0,
            description="How long a list from the accounting database is reused, per user, s. "
            "A job that ends in the meantime is noticed all the same.",
        )

        def trials_on(self, on: LoggedIn) -> Iterator[Trial]:
            """See `Section.trials_on`."""
            yield programs(on, _PROGRAMS, ("sinfo", "--version"))

    def __init__(self, shell: Shell, options: Options) -> None:
        # What is attached is left to end by itself.
        self._shell, self._plain = Watched(shell), shell
        self._accounting = Accounting(shell)
        self._ended = EndedJobs()
        self._histories = Histories(options.history_cache_seconds)

    async def submit(self, job: JobDescription) -> str:
        """See `Scheduler.submit`."""
        await self._shell.reach()
        return await submission.submit(self._shell, job)

    async def jobs(self, wanted: JobFilter) -> tuple[Job, ...]:
        """See `Scheduler.jobs`. Names are compared here: Slurm would read a comma in one as two names."""
        queued = self._queue(commands.queue_options(wanted), commands.step_options(wanted))
        known = self._histories.get(_key(wanted))
        if known is None:
            queue, history = await both(queued, self._history(wanted))
        else:
            queue = await queued
            missing = lacking(known.jobs, queue)
            history = await self._history(wanted, missing) if missing - known.awaited else known
        found = merge(history.jobs, queue)
        return tuple(job for job in found if wanted.name in (None, job.name))

    async def job(self, job_id: str) -> tuple[Job, ...]:
        """See `Scheduler.job`. Accounting is asked only about what slurmctld does not know, or knows to have ended."""
        _checked(job_id)
        try:
            queue = await self._queued(job_id)
        except BackendUnavailable as error:
            return await _instead(error, self._over(job_id))
        if queue and all(_told_in_full(job, job_id) for job in queue):
            return queue
        user = caller.current().username
        remembered = self._ended.get(user, job_id, queue)
        if remembered is not None:
            return remembered
        history = _of(await self._accounting.job(job_id, known=bool(queue)), job_id)
        found = merge(history, queue)
        if not found:
            raise failures.job_not_found()
        if not lacking(history, queue):
            self._ended.keep(user, job_id, found)
        return found

    async def metadata(self, job_id: str) -> JobMetadata:
        """See `Scheduler.metadata`. Of jobs that slurmctld does not tell of accounting does."""
        _checked(job_id)
        try:
            streams, script = await both(
                self._shell.run(commands.streams_command(job_id)),
                self._shell.run(commands.script_command(job_id)),
            )
        except NotFound:
            return await self._accounting.metadata(job_id)
        except BackendUnavailable as error:
            return await _instead(error, self._accounting.metadata(job_id))
        return streams.metadata(job_id, script)

    async def attach(self, job_id: str, command: str) -> None:
        """See `Scheduler.attach`. The command's output is dropped; FailedPrecondition when it or the job fails it.

        Of a heterogeneous job one component has to be named. Without slurmctld srun would try until time runs out, so
        that is asked first.
        """
        _checked(job_id)
        await self.ping()
        job, _, component = job_id.partition("+")
        if job_id != whole_job(job_id):
            number = await self._number(job_id)
            job = job if component else number
        try:
            await self._plain.run(commands.attach_command(job, command, component))
        except failures.Heterogeneous as error:
            raise error.extended(f"Name one of its components, such as {job}+0.") from None

    async def cancel(self, job_id: str) -> None:
        """See `Scheduler.cancel`. Cancelling a job that has ended is no error."""
        await self._shell.run(commands.cancel_command(_checked(job_id)))

    async def nodes(self) -> tuple[Node, ...]:
        """See `Scheduler.nodes`."""
        return await self._shell.run(commands.nodes_command())

    async def partitions(self) -> tuple[Partition, ...]:
        """See `Scheduler.partitions`."""
        return await self._shell.run(commands.partitions_command())

    async def reservations(self) -> tuple[Reservation, ...]:
        """See `Scheduler.reservations`."""
        return await self._shell.run(commands.reservations_command())

    async def user_info(self) -> UserInfo:
        """See `Scheduler.user_info`. Accounts come from slurmctld, or from accounting where that does not tell."""
        user = await self._shell.run(commands.user_command())
        if user.accounts is not None:
            return user
        return replace(user, accounts=await self._accounting.accounts(user.user.name))

    async def ping(self) -> str:
        """See `Scheduler.ping`."""
        return await self._shell.ping()

    async def _queue(self, jobs: tuple[str, ...], steps: tuple[str, ...]) -> tuple[Job, ...]:
        """What slurmctld knows, with the steps that run."""
        queue, running = await both(
            self._shell.run(commands.queued_command(*jobs)),
            self._shell.run(commands.running_steps_command(*steps)),
        )
        later = [job.id for job in queue if _runs_later(job)]
        if later:
            running |= await self._steps_of_components(later, jobs)
        return tuple(_with_steps(job, _steps_of(job, running)) for job in queue)

    async def _steps_of_components(
        self, later: Sequence[str], jobs: tuple[str, ...]
    ) -> dict[str, tuple[Step, ...]]:
        """The running steps of components, which squeue tells of by their numbers, by their ids."""
        numbers = await self._shell.run(commands.numbers_command(*jobs))
        ids = {numbers[job_id]: job_id for job_id in later if job_id in numbers}
        running = await self._shell.run(commands.running_steps_command(f"--jobs={','.join(ids)}"))
        return {
            ids[number]: tuple(_renamed(step, number, ids[number]) for step in steps)
            for number, steps in running.items()
            if number in ids
        }

    async def _queued(self, job_id: str) -> tuple[Job, ...]:
        """What slurmctld knows of one job; nothing when it does not know it."""
        which = (f"--jobs={job_id}",)
        try:
            return _of(await self._queue(which, which), job_id)
        except NotFound:
            return ()

    async def _number(self, job_id: str) -> str:
        """The number that a task or component has as a job of its own."""
        numbers = await self._shell.run(commands.numbers_command(f"--jobs={job_id}"))
        if job_id not in numbers:
            raise failures.job_not_found()
        return numbers[job_id]

    async def _history(self, wanted: JobFilter, awaited: frozenset[str] = frozenset()) -> History:
        """A new list from accounting."""
        return self._histories.put(_key(wanted), await self._accounting.jobs(wanted), awaited)

    async def _over(self, job_id: str) -> tuple[Job, ...]:
        """The jobs of an id that are over, by accounting, which is right about those; NotFound when one is not."""
        found = _of(await self._accounting.job(job_id), job_id)
        if not found or not all(job.status.state.ended for job in found):
            raise failures.job_not_found()
        return found


async def _instead(error: BackendUnavailable, ask: Coroutine[Any, Any, T]) -> T:
    """What accounting answers when slurmctld does not; raises `error` when it does not know either."""
    if type(error) is not BackendUnavailable:  # its subclasses are about the way there
        ask.close()
        raise error
    try:
        return await ask
    except (BackendUnavailable, NotFound):
        raise error from None


def _checked(job_id: str) -> str:
    """The id, if Slurm could have given it out. To sacct, `0` means all jobs, and a comma separates ids."""
    if not is_job_id(job_id):
        raise failures.job_not_found()
    return job_id


def _of(jobs: tuple[Job, ...], asked: str) -> tuple[Job, ...]:
    """The jobs of an id: Slurm answers with all components of a heterogeneous job, whichever is asked for."""
    return tuple(job for job in jobs if job.id == asked or not is_component(asked))


def _steps_of(job: Job, running: Mapping[str, tuple[Step, ...]]) -> tuple[Step, ...]:
    """The steps of a job that run; squeue tells those of a heterogeneous job's first component under the job's id."""
    leader = job.id.removesuffix("+0")
    if leader == job.id:
        return running.get(job.id, ())
    return tuple(_renamed(step, leader, job.id) for step in running.get(leader, ()))


def _renamed(step: Step, job: str, wanted: str) -> Step:
    """A step under another id of its job."""
    return replace(step, id=f"{wanted}{step.id.removeprefix(job)}")


def _runs_later(job: Job) -> bool:
    """Whether it is a running component after the first of its heterogeneous job."""
    running = job.status.state in (State.RUNNING, State.SUSPENDED)
    return running and is_component(job.id) and not job.id.endswith("+0")


def _told_in_full(job: Job, asked: str) -> bool:
    """Whether slurmctld alone tells all there is: not of an array, whose ended tasks it forgets."""
    return job.status.state in _LIVE and (is_task(asked) or not is_task(job.id))


def _with_steps(job: Job, steps: tuple[Step, ...]) -> Job:
    if job.status.state is not State.SUSPENDED:
        return replace(job, steps=steps)
    status = replace(job.status, reason=None)
    return replace(job, steps=tuple(replace(step, status=status) for step in steps))


def _key(wanted: JobFilter) -> tuple[str, JobFilter]:
    return caller.current().username, replace(wanted, name=None)

"""Jobs in slurmctld, with their running steps: squeue's answers, combined."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from passerelle.compute.scheduler import Job, JobFilter, State, Step
from passerelle.compute.schedulers.command_line.concurrency import both
from passerelle.compute.schedulers.command_line.errors import job_not_found
from passerelle.compute.schedulers.slurm import commands
from passerelle.compute.schedulers.slurm.ids import is_component, is_task, of_requested
from passerelle.runtime.command import Shell
from passerelle.runtime.computation import computed
from passerelle.runtime.errors import NotFound

_LIVE = (State.PENDING, State.RUNNING)


class Queue:
    """Queries to slurmctld for jobs: the `LiveJobs` of Slurm."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    async def jobs(self, wanted: JobFilter) -> tuple[Job, ...]:
        """See `LiveJobs.jobs`."""
        return await self._jobs(commands.queue_options(wanted), commands.step_options(wanted))

    async def job(self, job_id: str) -> tuple[Job, ...]:
        """See `LiveJobs.job`."""
        which = (f"--jobs={job_id}",)
        try:
            return of_requested(await self._jobs(which, which), job_id)
        except NotFound:
            return ()

    def is_complete(self, job: Job, requested: str) -> bool:
        """See `LiveJobs.is_complete`: not of an array, whose ended tasks slurmctld forgets."""
        return job.status.state in _LIVE and (is_task(requested) or not is_task(job.id))

    async def number(self, job_id: str) -> str:
        """The number of a task's or component's own job. Raises NotFound without one."""
        numbers = await self._shell.run(commands.numbers_command(f"--jobs={job_id}"))
        if job_id not in numbers:
            raise job_not_found()
        return numbers[job_id]

    async def _jobs(self, jobs: tuple[str, ...], steps: tuple[str, ...]) -> tuple[Job, ...]:
        """The jobs and running steps that these options of squeue select."""
        queue, running = await both(
            self._shell.run(commands.queued_command(*jobs)),
            self._shell.run(commands.running_steps_command(*steps)),
        )
        later = [job.id for job in queue if _runs_later(job)]
        if later:
            running |= await self._steps_of_components(later, jobs)
        return await computed(
            lambda: tuple(_with_steps(job, _steps_of(job, running)) for job in queue),
            len(queue),
        )

    async def _steps_of_components(
        self, later: Sequence[str], jobs: tuple[str, ...]
    ) -> dict[str, tuple[Step, ...]]:
        """The running steps of components, by component id; squeue lists them by number."""
        numbers = await self._shell.run(commands.numbers_command(*jobs))
        ids = {numbers[job_id]: job_id for job_id in later if job_id in numbers}
        running = await self._shell.run(commands.running_steps_command(f"--jobs={','.join(ids)}"))
        return {
            ids[number]: tuple(_renamed(step, number, ids[number]) for step in steps)
            for number, steps in running.items()
            if number in ids
        }


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


def _with_steps(job: Job, steps: tuple[Step, ...]) -> Job:
    if job.status.state is not State.SUSPENDED:
        return replace(job, steps=steps) if steps else job
    status = replace(job.status, reason=None)
    return replace(job, steps=tuple(replace(step, status=status) for step in steps))

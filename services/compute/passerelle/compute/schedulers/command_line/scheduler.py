"""The Scheduler port on a batch system's programs: a plugin is tables, commands and parsers, and this runs them."""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from passerelle.compute.scheduler import (
    Job,
    JobDescription,
    JobFilter,
    JobMetadata,
    Node,
    Partition,
    Reservation,
    Scheduler,
    UserInfo,
)
from passerelle.compute.schedulers.command_line.controller import ControllerShell
from passerelle.compute.schedulers.command_line.errors import ErrorTable, job_not_found
from passerelle.compute.schedulers.command_line.identity import identity_command
from passerelle.compute.schedulers.command_line.submission import Submission, in_doubt
from passerelle.runtime.command import Command, Shell
from passerelle.runtime.config.sections import Section
from passerelle.runtime.errors import ApiError, Unsupported


class CommandLineScheduler(Scheduler, ABC):
    """The Scheduler port. Its own methods are the port's; a plugin overrides what stands under "What a plugin says".

    A command is data (`Command`, or that of `whole_command`); its parser is a pure function. What a plugin makes no
    command for is Unsupported. A plugin that needs several commands for one answer overrides `listed`, `looked_up` or
    the port's method.
    """

    errors: ClassVar[ErrorTable]
    """Its programs, and the meanings of their messages."""

    class Options(Section):
        """A plugin without options of its own has none."""

    def __init__(self, shell: Shell, options: Section) -> None:
        self.shell = ControllerShell(shell, self.ping_command, self.errors.scheduler)

    # What a plugin says.

    @abstractmethod
    def is_job_id(self, text: str) -> bool:
        """See `Scheduler.is_job_id`."""

    @abstractmethod
    def ping_command(self) -> Command[str]:
        """Asks for the controller, and gives a line of its answer; BackendUnavailable when it is down."""

    def submit_command(self, job: JobDescription, submission: Submission) -> Command[str]:
        """Submits a job and gives its id; by `submission.command` when the program reads a script on stdin."""
        raise self._unsupported("takes no jobs")

    def jobs_command(self, wanted: JobFilter) -> Command[tuple[Job, ...]]:
        """The wanted jobs, whatever their names, in any order."""
        raise self._unsupported("lists no jobs")

    def job_command(self, job_id: str) -> Command[tuple[Job, ...]]:
        """The jobs of an id, with all tasks of an array; none, or NotFound, when it does not know the id."""
        raise self._unsupported("tells of no jobs")

    def cancel_command(self, job_id: str) -> Command[None]:
        """Cancels a job; not an error for one that has ended."""
        raise self._unsupported("cancels no jobs")

    def metadata_command(self, job_id: str) -> Command[JobMetadata]:
        """A job's script and standard streams."""
        raise self._unsupported("tells of no job's script and streams")

    def attach_command(self, job_id: str, command: str) -> Command[None]:
        """Runs a command line in a running job's allocation."""
        raise self._unsupported("runs no commands in jobs")

    def nodes_command(self) -> Command[tuple[Node, ...]]:
        """All nodes."""
        raise self._unsupported("does not tell of its nodes")

    def partitions_command(self) -> Command[tuple[Partition, ...]]:
        """All partitions, or queues."""
        raise self._unsupported("does not tell of its partitions")

    def reservations_command(self) -> Command[tuple[Reservation, ...]]:
        """All reservations."""
        raise self._unsupported("does not tell of its reservations")

    def user_command(self) -> Command[UserInfo]:
        """The caller on the system; without accounts, unless a plugin knows of them."""
        return identity_command()

    # The port.

    async def submit(self, job: JobDescription) -> str:
        """See `Scheduler.submit`."""
        await self.shell.reach()
        submission = Submission()
        try:
            return await self.shell.run(self.submit_command(job, submission))
        except ApiError as error:
            if error.http < 500 or not submission.begun:
                raise
            raise in_doubt(error) from None

    async def jobs(self, wanted: JobFilter) -> Sequence[Job]:
        """See `Scheduler.jobs`. Names are compared here: programs take a comma, or a star, for more than one name."""
        return tuple(job for job in await self.listed(wanted) if wanted.name in (None, job.name))

    async def job(self, job_id: str) -> Sequence[Job]:
        """See `Scheduler.job`."""
        jobs = await self.looked_up(self.checked(job_id))
        if not jobs:
            raise job_not_found()
        return jobs

    async def metadata(self, job_id: str) -> JobMetadata:
        """See `Scheduler.metadata`."""
        return await self.shell.run(self.metadata_command(self.checked(job_id)))

    async def attach(self, job_id: str, command: str) -> None:
        """See `Scheduler.attach`."""
        await self.shell.run(self.attach_command(self.checked(job_id), command))

    async def cancel(self, job_id: str) -> None:
        """See `Scheduler.cancel`."""
        await self.shell.run(self.cancel_command(self.checked(job_id)))

    async def nodes(self) -> Sequence[Node]:
        """See `Scheduler.nodes`."""
        return await self.shell.run(self.nodes_command())

    async def partitions(self) -> Sequence[Partition]:
        """See `Scheduler.partitions`."""
        return await self.shell.run(self.partitions_command())

    async def reservations(self) -> Sequence[Reservation]:
        """See `Scheduler.reservations`."""
        return await self.shell.run(self.reservations_command())

    async def user_info(self) -> UserInfo:
        """See `Scheduler.user_info`."""
        return await self.shell.run(self.user_command())

    async def ping(self) -> str:
        """See `Scheduler.ping`."""
        return await self.shell.ping()

    # What several of the port's methods need, and a plugin with more than one source of jobs overrides.

    async def listed(self, wanted: JobFilter) -> Sequence[Job]:
        """The wanted jobs, whatever their names, oldest id first."""
        jobs = await self.shell.run(self.jobs_command(wanted))
        return sorted(jobs, key=lambda job: id_order(job.id))

    async def looked_up(self, job_id: str) -> Sequence[Job]:
        """The jobs of an id that the scheduler could have given out."""
        return await self.shell.run(self.job_command(job_id))

    def checked(self, job_id: str) -> str:
        """The id, if it has the form of one. Raises NotFound otherwise, before anything is run."""
        if not self.is_job_id(job_id):
            raise job_not_found()
        return job_id

    def _unsupported(self, what: str) -> Unsupported:
        return Unsupported(f"{self.errors.scheduler} {what}.")


def id_order(job_id: str) -> tuple[int, ...]:
    """A sort key by the numbers in an id: `9` before `10`, `9_2` before `9_10`."""
    return tuple(int(digits) for digits in re.findall(r"[0-9]{1,20}", job_id))

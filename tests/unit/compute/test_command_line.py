"""What schedulers with a command line have in common: errors by a table, whole outputs, submits that leave a doubt."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from passerelle.compute.scheduler import Job, JobDescription, JobFilter, State, Status, Times
from passerelle.compute.schedulers.command_line import (
    CommandLineScheduler,
    ErrorTable,
    Submission,
    the_line,
    whole_command,
)
from passerelle.runtime.command import Command, Output, T
from passerelle.runtime.errors import (
    ApiError,
    BackendError,
    BackendUnavailable,
    ConnectionFailed,
    Forbidden,
    NotFound,
    Unsupported,
)

ERRORS = ErrorTable(
    "Batch",
    ("jsub", "jstat"),
    {r"jstat: no job \S+": NotFound, r"jstat: .* is down": BackendUnavailable},
    reasons={"not yours": Forbidden},
    heading=re.compile(r"jdel: cannot delete \S+: (?P<reason>.+)"),
)
OWN = ErrorTable("Batch", ("jstat",), {r"jstat: no job \S+": NotFound}, own=re.compile("jstat: "))


def parse_jobs(output: Output) -> tuple[Job, ...]:
    """One id a line; what is unknown is said beside what is known."""
    if output.status not in (0, 35):
        raise ERRORS.error(output)
    running, no_times = Status(State.RUNNING, "R"), Times()
    return tuple(Job(job_id, "job", running, no_times) for job_id in output.stdout.split())


class Batch(CommandLineScheduler):
    """A scheduler that can only do what it must."""

    errors = ERRORS

    def is_job_id(self, text: str) -> bool:
        """Digits."""
        return text.isdecimal()

    def submit_command(self, job: JobDescription, submission: Submission) -> Command[str]:
        """By a script on stdin."""
        return submission.command(job, ("jsub",), the_line(r"^job (\d+)$"), ERRORS.error)

    def jobs_command(self, wanted: JobFilter) -> Command[tuple[Job, ...]]:
        """All jobs."""
        return whole_command(("jstat",), parse_jobs)

    def job_command(self, job_id: str) -> Command[tuple[Job, ...]]:
        """One job."""
        return whole_command(("jstat", job_id), parse_jobs)

    def ping_command(self) -> Command[str]:
        """See `CommandLineScheduler.ping_command`."""
        return Command(("jping",), str.strip, failure=ERRORS.error)


@dataclass
class Answering:
    """A `Shell` whose programs answer or fail as a test says; a submit's greeting is heard when it answers."""

    answers: Mapping[str, Output | ApiError]
    greets: bool = True
    commands: list[Command[Any]] = field(default_factory=list)

    async def run(self, command: Command[T]) -> T:
        """See `Shell.run`."""
        self.commands.append(command)
        program = command.argv[-1] if command.argv[0] == "sh" else command.argv[0]
        if command.greeted is not None and self.greets:
            assert command.greeted("passerelle-submits")
        answer = self.answers[program]
        if isinstance(answer, ApiError):
            raise answer
        return command.result(answer)


UP = Output(0, "up\n", "")


def batch(**answers: Output | ApiError) -> tuple[Batch, Answering]:
    shell = Answering({"jping": UP, **answers})
    return Batch(shell, Batch.Options()), shell


@pytest.mark.parametrize(
    ("stderr", "kind", "detail"),
    [
        ("jstat: no job 7", NotFound, "Job not found."),
        ("motd\njstat: server is down\nbye", BackendUnavailable, "jstat: server is down\nbye"),
        ("jdel: cannot delete 7: not yours", Forbidden, "jdel: cannot delete 7: not yours"),
        ("jdel: cannot delete 7: odd", BackendError, "jdel: cannot delete 7: odd"),
        ("he said: jstat: no job 7", BackendError, "he said: jstat: no job 7"),
        ("", BackendError, "Batch's command failed with exit status 3."),
    ],
)
def test_an_error_by_the_table(stderr: str, kind: type[ApiError], detail: str) -> None:
    error = ERRORS.error(Output(3, "", stderr))
    assert (type(error), error.detail) == (kind, detail)


def test_the_last_line_with_a_meaning_counts() -> None:
    stderr = "jstat: no job 7\njstat: server is down\njstat: trying\n"
    assert ERRORS.kind(stderr) is BackendUnavailable


def test_a_program_is_known_by_how_it_begins_its_lines() -> None:
    error = OWN.error(Output(1, "", "welcome\njstat: something new"))
    assert (type(error), error.detail) == (BackendError, "jstat: something new")


@pytest.mark.parametrize(
    "output", ["sh: 1: jsub: not found", "env: 'jsub': No such file or directory"]
)
def test_a_program_that_is_missing(output: str) -> None:
    missing = ERRORS.missing(Output(127, "", f"welcome\n{output}\n"))
    assert missing is not None
    assert missing.program == "jsub"
    assert ERRORS.missing(Output(127, "", output.replace("jsub", "grep"))) is None
    assert ERRORS.missing(Output(1, "", output)) is None


async def test_a_parser_sees_the_whole_output() -> None:
    scheduler, _ = batch(jstat=Output(35, "10\n9\n", "jstat: no job 8"))
    assert [job.id for job in await scheduler.jobs(JobFilter())] == ["9", "10"]
    scheduler, _ = batch(jstat=Output(1, "10\n", "jstat: server is down"))
    with pytest.raises(BackendUnavailable, match="is down"):
        await scheduler.jobs(JobFilter())


async def test_a_list_by_name() -> None:
    scheduler, _ = batch(jstat=Output(0, "9\n", ""))
    assert len(await scheduler.jobs(JobFilter(name="job"))) == 1
    assert not await scheduler.jobs(JobFilter(name="jo*"))


async def test_no_answer_is_no_job() -> None:
    scheduler, _ = batch(jstat=Output(0, "", ""))
    with pytest.raises(NotFound, match=r"^Job not found\.$"):
        await scheduler.job("7")


async def test_nothing_is_run_for_what_is_no_id() -> None:
    scheduler, shell = batch()
    calls = (scheduler.job, scheduler.metadata, scheduler.cancel)
    for call in (*calls, lambda job_id: scheduler.attach(job_id, "true")):
        with pytest.raises(NotFound, match=r"^Job not found\.$"):
            await call("7;id")
    assert not shell.commands


async def test_what_has_no_command_is_unsupported() -> None:
    scheduler, shell = batch()
    request = (
        *(scheduler.metadata("7"), scheduler.attach("7", "true"), scheduler.cancel("7")),
        *(scheduler.nodes(), scheduler.partitions(), scheduler.reservations()),
    )
    for question in request:
        with pytest.raises(Unsupported, match=r"^Batch "):
            await question
    assert not shell.commands


async def test_a_submit_is_never_repeated_and_hides_what_is_the_jobs() -> None:
    scheduler, shell = batch(jsub=Output(0, "notice\npasserelle-submits\njob 7\n", ""))
    job = JobDescription("/home", script="#!/bin/sh\ntrue\n", environment={"TOKEN": "secret"})
    assert await scheduler.submit(job) == "7"
    (_, submit) = shell.commands
    assert not submit.repeatable
    assert submit.stdin == "\n#!/bin/sh\ntrue\n"
    assert submit.environment == {"TOKEN": "secret"}
    assert "secret" not in " ".join(submit.argv)


@pytest.mark.parametrize("message", ["", "passerelle-submits\n", "passerelle-submits\nqueued\n"])
async def test_a_submit_without_an_id_leaves_a_doubt(message: str) -> None:
    scheduler, _ = batch(jsub=Output(0, message, ""))
    with pytest.raises(BackendError, match=r"Whether the job was queued is not known"):
        await scheduler.submit(JobDescription("/home", script="true"))


async def test_a_connection_that_breaks_leaves_a_doubt_only_when_the_submit_had_begun() -> None:
    for greets in (True, False):
        scheduler, shell = batch(jsub=ConnectionFailed("It broke."))
        shell.greets = greets
        with pytest.raises(ConnectionFailed) as failure:
            await scheduler.submit(JobDescription("/home", script="true"))
        assert ("is not known" in failure.value.detail) == greets
        assert (failure.value.retry_after is None) == greets


async def test_nothing_is_submitted_to_a_controller_that_is_down() -> None:
    scheduler, shell = batch(jping=Output(1, "", "jstat: server is down"))
    with pytest.raises(BackendUnavailable, match="is down"):
        await scheduler.submit(JobDescription("/home", script="true"))
    assert [command.argv for command in shell.commands] == [("jping",)]

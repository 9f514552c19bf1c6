"""Submitting a job, and finding out whether there is one where sbatch does not tell."""

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files

from passerelle.compute.scheduler import JobDescription
from passerelle.compute.schedulers.command_line.tables import new_mark
from passerelle.compute.schedulers.slurm import job_outputs, refusals
from passerelle.compute.schedulers.slurm.commands import question
from passerelle.compute.schedulers.slurm.directives import job_name
from passerelle.runtime.command import Command, Shell
from passerelle.runtime.errors import ApiError


def _script(name: str) -> str:
    """The shell script of that name beside this module, without its comments."""
    lines = files(__package__).joinpath(name).read_text().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("#"))


_SUBMIT, _SUBMITTED = _script("submit.sh"), _script("submitted.sh")
_VARIABLES = "/dev/fd/3"
# Seconds that sbatch gets: where the queue is full it tries again for minutes, longer than the request is waited for.
_SUBMITTING = 7.0
# Seconds to find out whether there is a job: a new login, the end of the session that submitted (one second; five where
# the node is busy), and the answer.
_LOOKING = 10.0
# At the end of a line: what start-up files left running prints may stand before it.
_GREETING = re.compile(r"session (\d+) (\S+) (\d+)$")


@dataclass(frozen=True, slots=True)
class Session:
    """The process session that submits: its id, the name of its login node, and since when, in seconds of the epoch."""

    id: str
    host: str
    since: int


async def submit(shell: Shell, job: JobDescription) -> str:
    """Submit a job, and give its id.

    When sbatch gives no id (the connection was lost, time ran out, slurmctld did not answer it, a site's own sbatch
    failed afterwards), slurmctld is asked once, on a new connection if need be, for a job from the session that
    submitted. The errors say whether there may be one.
    """
    name = await _name_of(shell, job)
    sessions: list[Session] = []
    try:
        return await shell.run(submit_command(job, name, sessions.append))
    except ApiError as error:
        if not sessions:  # nothing had begun
            raise
        jobs = await _jobs_of(shell, sessions[0])
        if jobs is not None and len(jobs) == 1:
            return min(jobs)
        raise refusals.unsubmitted(error, certain=jobs == frozenset()) from None


async def _jobs_of(shell: Shell, session: Session) -> frozenset[str] | None:
    """The ids of jobs that were submitted from this session; None when that cannot be found out."""
    try:
        async with asyncio.timeout(_LOOKING):
            return await shell.run(submitted_command(session))
    except (ApiError, TimeoutError):
        return None


async def _name_of(shell: Shell, job: JobDescription) -> str:
    """The name the job will have; the system is asked for a script's directives only when they matter."""
    script = job.script or ""
    if job.environment and job.script_path is not None and job.name is None:
        script = await shell.run(directives_command(job.script_path))
    return job_name(job.name, script, job.script_path)


def submit_command(
    job: JobDescription, name: str, begun: Callable[[Session], None]
) -> Command[str]:
    """Submits a job and gives its id. Never repeated: the first try may have come through.

    `name` is the one the job will have; sbatch tells it to jobs only when it makes their environment itself.
    `begun` is called before anything is submitted, with the session by which `submitted_command` finds the job.
    """

    def greeted(line: str) -> bool:
        if match := _GREETING.search(line):
            begun(Session(match[1], match[2], int(match[3])))
        return match is not None

    environment = {"SLURM_JOB_NAME": name, **job.environment} if job.environment else {}
    variables = "".join(_lines(f"{name}={value}") for name, value in environment.items())
    export = (f"--export-file={_VARIABLES}",) if environment else ()
    path = ("--", job.script_path) if job.script_path is not None else ()
    return Command(
        ("bash", "-c", _SUBMIT, "sbatch", "--parsable", *_options(job), *export, *path),
        job_outputs.parse_submitted,
        stdin=f"{variables}.\n{job.script or ''}",
        failure=refusals.refused_submission,
        repeatable=False,
        unset=(),  # a login's variables are the job's, too
        greeted=greeted,
        seconds_after_input=_SUBMITTING,
    )


def submitted_command(session: Session) -> Command[frozenset[str]]:
    """The ids of the jobs that `submit_command` has brought into the queue from this session: one, or none.

    Its parser raises BackendError when there is none so far, and the session has not ended.
    """
    mark = new_mark()
    shown = ",".join(f"{field}:{mark}" for field in job_outputs.SUBMITTED_FIELDS)
    squeue = ("squeue", "--me", "--noheader", "--all", "--states=all", f"--Format={shown}")
    return question(
        ("sh", "-c", _SUBMITTED, "squeue", session.id, session.host, *squeue),
        lambda text: job_outputs.parse_submitted_from(text, mark, session.id, session.since),
        of="squeue",
    )


def directives_command(script_path: str) -> Command[str]:
    """The lines at the head of a script on the system in which directives stand; nothing where it cannot be read."""
    return Command(
        ("sed", "-n", r"/^[^#]/{/[^[:space:]]/q;};/^#SBATCH/p", "--", script_path),
        lambda text: text,
        accepts=tuple(range(256)),
    )


def _lines(variable: str) -> str:
    """A variable as submit.sh reads it: lines that go on begin with a comma, the last one with an equal sign."""
    *lines, last = variable.split("\n")
    return "".join(f",{line}\n" for line in lines) + f"={last}\n"


def _options(job: JobDescription) -> Iterator[str]:
    for option, value in (
        ("chdir", job.working_directory),
        ("job-name", job.name),
        ("account", job.account),
        ("partition", job.partition),
        ("reservation", job.reservation),
        ("constraint", job.constraints),
        ("input", job.standard_input),
        ("output", job.standard_output),
        ("error", job.standard_error),
    ):
        if value:
            yield f"--{option}={value}"
    if job.time_limit is not None:
        yield f"--time={max(1, -(-job.time_limit // 60))}"  # whole minutes; 0 would mean no limit

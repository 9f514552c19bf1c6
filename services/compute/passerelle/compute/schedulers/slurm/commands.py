"""Slurm's commands about jobs, as data. Every value of a caller stands in a `--option=value` word or on stdin.

Times are printed as seconds since the epoch (SLURM_TIME_FORMAT, which all of Slurm's programs heed).
"""

from collections.abc import Callable

from passerelle.compute.scheduler import (
    Job,
    JobFilter,
    Step,
)
from passerelle.compute.schedulers.command_line.tables import new_mark
from passerelle.compute.schedulers.slurm import (
    failures,
    job_outputs,
    metadata_outputs,
)
from passerelle.compute.schedulers.slurm.ids import script_owner
from passerelle.compute.schedulers.slurm.stream_paths import Streams
from passerelle.runtime.command import CLEARED_VARIABLES, Command, Output, T
from passerelle.runtime.errors import ApiError

_ATTACHED = 'command=$(cat); exec </dev/null; eval "$command"'
_CANCEL = 'scancel --verbose -- "$1" 2>&1; echo "$?"'
_EPOCH = {"SLURM_TIME_FORMAT": "%s"}
# Variables of a login that change what every one of Slurm's programs tells, or whom they tell it of. SLURM_CONF is none
# of them: it says which Slurm this is.
_CLEARED = tuple(
    f"SLURM_{name}" for name in ("BITSTR_LEN", "CLUSTERS", "DEBUG", "DEBUG_FLAGS", "JSON", "YAML")
)


def question(
    argv: tuple[str, ...],
    parse: Callable[[str], T],
    *,
    of: str = "",
    failure: Callable[[Output], ApiError] = failures.ERRORS.error,
    accepts: tuple[int, ...] = (0,),
) -> Command[T]:
    """A question to Slurm, which means the same in whatever environment a user has.

    `of` is the program that answers, when it is not the first word: see "ENVIRONMENT VARIABLES" in its manual page for
    the variables that it alone heeds, which begin with its name.
    """
    return Command(
        argv,
        parse,
        failure=failure,
        accepts=accepts,
        unset=(*CLEARED_VARIABLES, *_CLEARED, f"{(of or argv[0]).upper()}_*"),
        environment=_EPOCH,
    )


def queued_command(*which: str) -> Command[tuple[Job, ...]]:
    """The jobs slurmctld knows, also those that ended lately; `which` are more options of squeue.

    A single job that it does not know gives none.
    """
    mark = new_mark()
    shown = ",".join(f"{field}:{mark}" for field in job_outputs.QUEUE_FIELDS)
    return question(
        ("squeue", "--noheader", "--all", "--states=all", f"--Format={shown}", *which),
        lambda text: job_outputs.parse_queue(text, mark),
    )


def running_steps_command(*which: str) -> Command[dict[str, tuple[Step, ...]]]:
    """The steps that run now, by the id of their job; `which` are more options of squeue."""
    mark = new_mark()
    shown = ",".join(f"{field}:{mark}" for field in job_outputs.STEP_FIELDS)
    return question(
        ("squeue", "--noheader", "--all", "--steps", f"--Format={shown}", *which),
        lambda text: job_outputs.parse_steps(text, mark),
    )


def numbers_command(*which: str) -> Command[dict[str, str]]:
    """The number that each task and component has as a job of its own, by its id; `which` are options of squeue."""
    mark = new_mark()
    shown = ",".join(f"{field}:{mark}" for field in job_outputs.NUMBER_FIELDS)
    return question(
        ("squeue", "--noheader", "--all", "--states=all", f"--Format={shown}", *which),
        lambda text: job_outputs.parse_numbers(text, mark),
    )


def history_command(*which: str) -> Command[tuple[Job, ...]]:
    """The jobs in the accounting database, with all their steps; `which` are more options of sacct."""
    mark = new_mark()
    shown = ",".join(job_outputs.HISTORY_FIELDS)
    return question(
        (
            "sacct",
            "--noheader",
            "--parsable",
            f"--delimiter={mark}",
            "--noconvert",
            f"--format={shown}",
            *which,
        ),
        lambda text: job_outputs.parse_history(text, mark),
    )


def queue_options(wanted: JobFilter) -> tuple[str, ...]:
    """The options of squeue that select the wanted jobs, apart from the name."""
    return tuple(
        f"--{option}={value}"
        for option, value in (("user", wanted.user), ("account", wanted.account))
        if value
    )


def step_options(wanted: JobFilter) -> tuple[str, ...]:
    """The options of squeue, for steps, that select the wanted ones, as far as squeue can."""
    return (f"--user={wanted.user}",) if wanted.user else ()


def history_options(wanted: JobFilter) -> tuple[str, ...]:
    """The options of sacct that select the wanted jobs, apart from the name."""
    who = (f"--user={wanted.user}",) if wanted.user else ("--allusers",)
    account = (f"--accounts={wanted.account}",) if wanted.account else ()
    return (*who, *account, f"--starttime=now-{wanted.window}seconds")


def attach_command(job: str, command: str, component: str | None = None) -> Command[None]:
    """Runs a command line in a job's allocation, in a shell that reads it from stdin; its output is dropped.

    `job` is a number, as srun took no other ids before 26.05; of a heterogeneous job one `component` is meant.
    """
    return Command(
        (
            "srun",
            "--overlap",
            f"--jobid={job}",
            *((f"--het-group={component}",) if component else ()),
            "--output=none",
            "--error=none",
            "bash",
            "-c",
            _ATTACHED,
        ),
        lambda _: None,
        stdin=command,
        failure=failures.refused_attachment,
        repeatable=False,
        unset=(),
    )


def cancel_command(job_id: str) -> Command[None]:
    """Cancels a job. scancel reports most failures on stderr only, with exit status 0: both are printed."""
    return question(
        ("sh", "-c", _CANCEL, "scancel", job_id),
        job_outputs.parse_cancelled,
        of="scancel",
    )


def script_command(job_id: str) -> Command[str | None]:
    """The batch script that slurmctld keeps; None where there is none, or it is another user's."""
    return question(
        ("scontrol", "write", "batch_script", script_owner(job_id), "-"),
        lambda text: text or None,
        accepts=(0, 1),
    )


def streams_command(job_id: str) -> Command[Streams]:
    """The paths of a job's standard streams, from slurmctld. Raises NotFound when it does not know the job."""
    return question(
        ("scontrol", "show", "job", script_owner(job_id)),
        lambda text: metadata_outputs.parse_streams(text, job_id),
        failure=failures.failed_to_show,
    )


def archived_script_command(job_id: str) -> Command[str | None]:
    """The batch script in the accounting database; NotFound when that does not know the job."""
    return question(
        ("sacct", "--batch-script", f"--jobs={script_owner(job_id)}"),
        lambda text: metadata_outputs.parse_archived_script(text, script_owner(job_id)),
    )


def archived_streams_command(job_id: str) -> Command[Streams]:
    """The paths of a job's standard streams in the accounting database; Unsupported before 24.05."""
    mark = new_mark()
    return question(
        _recorded(job_id, metadata_outputs.STREAM_FIELDS, mark),
        lambda text: metadata_outputs.parse_archived_streams(text, mark, job_id),
    )


def submit_line_command(job_id: str, script: str | None) -> Command[Streams]:
    """The same, by the line that submitted the job, and its `script`, if that is known."""
    mark = new_mark()
    return question(
        _recorded(job_id, metadata_outputs.LINE_FIELDS, mark),
        lambda text: metadata_outputs.parse_submit_line(text, mark, job_id, script),
    )


def _recorded(job_id: str, fields: tuple[str, ...], mark: str) -> tuple[str, ...]:
    """The command line that asks accounting for these fields of a job."""
    how = ("--noheader", "--parsable", f"--delimiter={mark}")
    return ("sacct", *how, f"--format={','.join(fields)}", f"--jobs={script_owner(job_id)}")

"""The `lsf` scheduler: IBM Spectrum LSF 10.1, written from its documentation; README.md names the pages."""

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from passerelle.compute import scheduler as port
from passerelle.compute.scheduler import JobDescription, JobFilter, NodeState, State
from passerelle.compute.schedulers.command_line import (
    CommandLineScheduler,
    ErrorTable,
    Submission,
    refused,
    the_line,
    whole_command,
)
from passerelle.runtime import errors
from passerelle.runtime.command import Command, Output, T

STATES = {
    **dict.fromkeys(("PEND", "PROV", "PSUSP", "WAIT"), State.PENDING),
    **dict.fromkeys(("SSUSP", "USUSP"), State.SUSPENDED),
    "RUN": State.RUNNING,
    "DONE": State.SUCCEEDED,
    "EXIT": State.FAILED,
}
EXIT_REASONS = {  # what an EXIT is instead
    **dict.fromkeys(("TERM_RUNLIMIT", "TERM_CPULIMIT", "TERM_DEADLINE"), State.TIMEOUT),
    **dict.fromkeys(("TERM_OWNER", "TERM_ADMIN", "TERM_BUCKET_KILL"), State.CANCELLED),
    **dict.fromkeys(("TERM_FORCE_OWNER", "TERM_FORCE_ADMIN"), State.CANCELLED),
}
NODE_STATES = dict.fromkeys(("unavail", "unreach"), NodeState.DOWN) | {
    "ok": NodeState.IDLE,
    "closed_Full": NodeState.ALLOCATED,
    "closed_Adm": NodeState.DRAIN,
}
ERRORS = ErrorTable(
    "LSF",
    ("bsub", "bjobs", "bkill", "bqueues", "bhosts", "lsid"),
    {
        r"Job <\S+>(?: is not found|: No matching job found)": errors.NotFound,
        r"Job <\S+>: Job has already finished": errors.FailedPrecondition,
        r"Job <\S+>: .*permission denied.*": errors.Forbidden,
        r"User cannot use the queue\. Job not submitted\.": errors.Forbidden,
        r"(?:.*: )?(?:Master )?LIM is down; try later.*": errors.BackendUnavailable,
        r"(?:Cannot connect to LSF|LSF is down)\. Please wait.*": errors.BackendUnavailable,
        r"(?:batch|LSF) daemon.* not responding.*": errors.BackendUnavailable,
    },
)
REFUSALS = {  # what bsub's words are about, by the fields of a job's description
    "queue": "partition",
    "reservation": "reservation",
    "RUNLIMIT": "time_limit",
    "resource requirement": "constraints",
}
JOB_FIELDS = (
    "jobid jobindex stat job_name user queue proj_name exec_host nexec_host start_time finish_time"
    " run_time runtimelimit exit_code exit_reason pend_reason sub_cwd exec_cwd"
)
Record = Mapping[str, str]


class Lsf(CommandLineScheduler):
    """IBM Spectrum LSF. Its jobs' scripts cannot be had back, and nothing is attached to a job."""

    errors = ERRORS
    job_id_variable = "LSB_JOBID"

    def is_job_id(self, text: str) -> bool:
        """`930`, or `930[2]` for an element of an array; to bkill, 0 means all jobs."""
        return re.fullmatch(r"[1-9][0-9]{0,9}(\[[1-9][0-9]{0,9}\])?", text) is not None

    def submit_command(self, job: JobDescription, submission: Submission) -> Command[str]:
        """bsub reads a script on stdin, and hands its environment on to the job."""
        if "[" in (job.name or ""):  # `name[1-9]` would be an array
            raise refused("name", "LSF takes no brackets in a job's name.")
        parse = the_line(r"^Job <(\d+)> is submitted to ")
        return submission.command(job, ("bsub", *bsub_options(job)), parse, bsub_error)

    def jobs_command(self, wanted: JobFilter) -> Command[tuple[port.Job, ...]]:
        """LSF forgets ended jobs after its CLEAN_PERIOD, which is an hour unless a site says otherwise."""
        who = ("-u", wanted.user or "all", *(("-P", wanted.account) if wanted.account else ()))
        return question(("bjobs", "-a", *who, "-o", JOB_FIELDS, "-json"), job_of)

    def job_command(self, job_id: str) -> Command[tuple[port.Job, ...]]:
        """Of an array all elements."""
        return question(("bjobs", "-o", JOB_FIELDS, "-json", job_id), job_of)

    def cancel_command(self, job_id: str) -> Command[None]:
        """bkill says of a job that has ended that it has."""
        return whole_command(("bkill", job_id), check_cancelled)

    def nodes_command(self) -> Command[tuple[port.Node, ...]]:
        """Hosts, with their slots for CPUs."""
        return question(("bhosts", "-o", "host_name status max njobs run", "-json"), node_of)

    def partitions_command(self) -> Command[tuple[port.Partition, ...]]:
        """Queues."""
        return question(("bqueues", "-o", "queue_name status max", "-json"), partition_of)

    def ping_command(self) -> Command[str]:
        """The line about the cluster."""
        return Command(("lsid",), the_line(r"^(My cluster name is .*\S)"), failure=ERRORS.error)


def question(argv: tuple[str, ...], make: Callable[[Record], T]) -> Command[tuple[T, ...]]:
    """Asks for records, and makes a value of each; the same whatever format and time zone a user has set."""

    def read(output: Output) -> tuple[T, ...]:
        return tuple(make(record) for record in records(output))

    return whole_command(argv, read, unset=("LSB_*",), environment={"TZ": "UTC"})


def records(output: Output) -> list[Record]:
    """What a program printed as JSON, without the ids it does not know: those have an ERROR instead of fields."""
    if not output.stdout.startswith("{"):
        if output.status and ERRORS.kind(output.stderr) is not errors.NotFound:
            raise ERRORS.error(output)
        return []
    return [record for record in json.loads(output.stdout)["RECORDS"] if "ERROR" not in record]


def bsub_options(job: JobDescription) -> tuple[str, ...]:
    """What bsub is told of a job besides its script. Without `-o` LSF would mail what the job prints."""
    minutes = None if job.time_limit is None else str(-(-job.time_limit // 60))
    words = {"-cwd": job.working_directory, "-J": job.name, "-P": job.account, "-q": job.partition}
    words |= {"-U": job.reservation, "-R": job.constraints, "-e": job.standard_error}
    words |= {"-i": job.standard_input, "-o": job.standard_output or "lsf-%J.out", "-W": minutes}
    return tuple(part for option, word in words.items() if word for part in (option, word))


def bsub_error(output: Output) -> errors.ApiError:
    """What is no trouble of LSF's is a mistake in the request, or a site's own refusal (esub)."""
    if ERRORS.missing(output) or ERRORS.kind(output.stderr):
        return ERRORS.error(output)
    text = output.stderr.strip()
    return refused(next((REFUSALS[word] for word in REFUSALS if word in text), "script"), text)


def check_cancelled(output: Output) -> None:
    """Raise the error of a failed bkill."""
    if output.status and ERRORS.kind(output.stderr) is not errors.FailedPrecondition:
        raise ERRORS.error(output)


def job_of(record: Record) -> port.Job:
    """A job, or an element of an array."""
    word, reason = record["STAT"], record["EXIT_REASON"]
    state = STATES.get(word, State.UNSPECIFIED)
    state = EXIT_REASONS.get(reason.partition(":")[0], state) if word == "EXIT" else state
    code = 0 if state is State.SUCCEEDED else number(record["EXIT_CODE"])
    signal = None if code is None else max(code - 128, 0)  # LSF adds 128 to a signal's number
    start, minutes = epoch(record["START_TIME"]), number(record["RUNTIMELIMIT"])
    end = epoch(record["FINISH_TIME"]) if state.ended else None  # LSF foretells it for the others
    return port.Job(
        id=record["JOBID"] + (f"[{index}]" if (index := number(record["JOBINDEX"])) else ""),
        name=record["JOB_NAME"],
        status=port.Status(state, word, reason or record["PEND_REASON"] or None, code, signal),
        time=port.Times(number(record["RUN_TIME"]), start, end, limit=minutes and minutes * 60),
        account=record["PROJ_NAME"] or None,
        node_count=number(record["NEXEC_HOST"]) or 0,
        nodes=record["EXEC_HOST"],
        partition=record["QUEUE"],
        user=record["USER"],
        working_directory=record["EXEC_CWD"] or record["SUB_CWD"],
    )


def node_of(record: Record) -> port.Node:
    """A host; without a limit of slots nothing is said of its CPUs."""
    word, slots, used = record["STATUS"], number(record["MAX"]) or 0, number(record["NJOBS"])
    mixed = word == "ok" and used
    state = NodeState.MIXED if mixed else NODE_STATES.get(word, NodeState.UNKNOWN)
    return port.Node(record["HOST_NAME"], (word.upper(),), slots, allocated_cpus=used, state=state)


def partition_of(record: Record) -> port.Partition:
    """A queue."""
    return port.Partition(record["QUEUE_NAME"], record["STATUS"], cpus=number(record["MAX"]))


def number(text: str) -> int | None:
    """The whole number that a text begins with, as in `16038 second(s)` and `1440.0`; None for `-` and nothing."""
    match = re.match(r"\d{1,18}", text)
    return int(match[0]) if match else None


def epoch(text: str, now: datetime | None = None) -> int | None:
    """`Dec 28 19:56 L`, in UTC: the last one that is not after tomorrow, because bjobs leaves the year out."""
    latest = (now or datetime.now(UTC)) + timedelta(days=1)
    for year in (latest.year, latest.year - 1):
        with suppress(ValueError):  # no time; or 29 February of another year
            time = datetime.strptime(f"{year} {text[:12]} +0000", "%Y %b %d %H:%M %z")
            if time <= latest:
                return int(time.timestamp())
    return None

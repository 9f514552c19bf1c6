"""Parsers of Slurm's output about jobs, in the formats of commands.py."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from passerelle.compute.scheduler import Job, State, Status, Step, Times
from passerelle.compute.schedulers.command_line.history import has_end
from passerelle.compute.schedulers.command_line.scheduler import id_order
from passerelle.compute.schedulers.command_line.tables import table_rows
from passerelle.compute.schedulers.slurm import failures
from passerelle.compute.schedulers.slurm.ids import array_of, whole_job
from passerelle.compute.schedulers.slurm.states import cancelled_by, plain_state, state_of
from passerelle.compute.schedulers.slurm.values import duration, epoch, exit_status, number
from passerelle.runtime.command import Output
from passerelle.runtime.errors import BackendError

QUEUE_FIELDS = (
    *("JobArrayID", "Name", "State", "Reason", "exit_code", "TimeUsed", "StartTime", "EndTime"),
    *("TimeLimit", "Account", "NumNodes", "Cluster", "GroupName", "NodeList", "Partition"),
    *("UserName", "WorkDir", "PriorityLong"),
)
NUMBER_FIELDS = ("JobArrayID", "JobID")
SUBMITTED_FIELDS = ("JobArrayID", "AllocSID", "SubmitTime")
STEP_FIELDS = ("StepID", "StepName", "TimeUsed", "StartTime")
HISTORY_FIELDS = (
    *("JobID", "JobName", "State", "Reason", "ExitCode", "ElapsedRaw", "Start", "End"),
    *("Suspended", "TimelimitRaw", "Account", "AllocNodes", "Cluster", "Group", "NodeList"),
    *("Partition", "User", "WorkDir", "Priority"),
)
_HISTORY_NAMES: Mapping[str, str] = {
    "JobArrayID": "JobID",
    "Name": "JobName",
    "NumNodes": "AllocNodes",
    "GroupName": "Group",
    "UserName": "User",
    "PriorityLong": "Priority",
}
"""sacct's names of squeue's fields, where they differ."""
_QUEUE_NAMES = tuple(_HISTORY_NAMES.get(field, field) for field in QUEUE_FIELDS)
_SESSION_END = re.compile(r"(yes|no) (\d*) (\d+)")
_ROUNDING = 2  # seconds by which the difference of two times in whole seconds, on each of two clocks, is too large


def parse_queue(text: str, mark: str) -> tuple[Job, ...]:
    """Jobs from squeue, by id. A running job's status is as sacct would show it."""
    rows = table_rows(text, _QUEUE_NAMES, mark)
    jobs = [_job(row, _queue_status(row), _queue_times(row)) for row in rows]
    return tuple(sorted(jobs, key=lambda job: id_order(job.id)))


def _job(row: Mapping[str, str], status: Status, time: Times) -> Job:
    """A job from a record of squeue or sacct, by sacct's names."""
    return Job(
        id=row["JobID"],
        name=row["JobName"],
        status=status,
        time=time,
        account=row["Account"] or None,
        node_count=number(row["AllocNodes"]) or 0,
        cluster=row["Cluster"],
        group=row["Group"] or None,
        nodes=row["NodeList"],
        partition=row["Partition"],
        user=row["User"] or None,
        working_directory=row["WorkDir"],
        priority=number(row["Priority"]),
        kill_request_user=cancelled_by(row["State"]),
    )


def _queue_status(row: Mapping[str, str]) -> Status:
    word = row["State"]
    state = state_of(word)
    code, signal = exit_status(row["exit_code"])
    if word != "RUNNING" and not state.ended:
        code = signal = None
    return Status(state, word, row["Reason"] or None, code, signal)


def _queue_times(row: Mapping[str, str]) -> Times:
    running = row["State"] == "RUNNING"
    return Times(
        elapsed=duration(row["TimeUsed"]),
        start=epoch(row["StartTime"]),
        end=None
        if running
        else epoch(row["EndTime"]),  # squeue has an expected end for a running job
        suspended=0 if running else None,
        limit=duration(row["TimeLimit"]),
    )


def parse_steps(text: str, mark: str) -> dict[str, tuple[Step, ...]]:
    """Running steps from squeue, by the id of their job."""
    by_job: dict[str, list[Step]] = {}
    for row in table_rows(text, STEP_FIELDS, mark):
        time = Times(duration(row["TimeUsed"]), epoch(row["StartTime"]), suspended=0)
        status = Status(State.RUNNING, "RUNNING", None, 0, 0)
        step = Step(row["StepID"], row["StepName"], status, time)
        by_job.setdefault(_job_of(step.id), []).append(step)
    return {job: tuple(sorted(steps, key=_step_order)) for job, steps in by_job.items()}


def parse_numbers(text: str, mark: str) -> dict[str, str]:
    """Slurm's own numbers of jobs, by the ids of tasks and components."""
    return {row["JobArrayID"]: row["JobID"] for row in table_rows(text, NUMBER_FIELDS, mark)}


def _job_of(step_id: str) -> str:
    return step_id.split(".", 1)[0]


def _step_order(step: Step) -> tuple[bool, tuple[int, ...], str]:
    """`77.batch` and `77.extern` before `77.0`, as sacct lists them."""
    name = step.id.partition(".")[2]
    return name[:1].isdecimal(), id_order(name), name


def parse_history(text: str, mark: str) -> tuple[Job, ...]:
    """Jobs with their steps from sacct, by id.

    slurmdbd may hear of a short job's end before its start: until then its record has no partition, and is left out.
    """
    jobs: dict[str, Job] = {}
    steps: dict[str, list[Step]] = {}
    for row in table_rows(text, HISTORY_FIELDS, mark):
        if "." in row["JobID"]:
            step = Step(row["JobID"], row["JobName"], _past_status(row), _past_times(row))
            steps.setdefault(_job_of(step.id), []).append(step)
        elif row["Partition"]:
            jobs[row["JobID"]] = _job(row, _past_status(row), _past_times(row))
    complete = [replace(job, steps=tuple(steps.get(job.id, ()))) for job in jobs.values()]
    return tuple(sorted(complete, key=lambda job: id_order(job.id)))


def _past_status(row: Mapping[str, str]) -> Status:
    word = plain_state(row["State"])
    return Status(state_of(word), word, row["Reason"] or None, *exit_status(row["ExitCode"]))


def _past_times(row: Mapping[str, str]) -> Times:
    return Times(
        elapsed=number(row["ElapsedRaw"]),
        start=epoch(row["Start"]),
        end=epoch(row["End"]),
        suspended=duration(row["Suspended"]),
        limit=duration(row["TimelimitRaw"]),
    )


def merge(history: Sequence[Job], queue: Sequence[Job]) -> tuple[Job, ...]:
    """The jobs of accounting and of slurmctld together, by id.

    Accounting knows more about jobs that have ended or are suspended, except for their names, of which it keeps a
    reduced form; slurmctld knows more about the others. The database lags behind: its record of an array's waiting
    tasks is out of date when slurmctld lists the array. Waiting tasks are shown as one job with the array's id, by
    which every command takes it: `9` for `9_[2-4%1]`.
    """
    queued_arrays = {array_of(job.id) for job in queue}
    merged = {
        job.id: job
        for job in history
        if job.status.state.ended or "[" not in job.id or array_of(job.id) not in queued_arrays
    }
    for job in queue:
        past = merged.get(job.id)
        merged[job.id] = replace(past, name=job.name) if past and _agree(past, job) else job
    jobs = sorted(merged.values(), key=lambda job: id_order(job.id))
    return tuple(replace(job, id=array_of(job.id)) if _waits(job) else job for job in jobs)


def _waits(job: Job) -> bool:
    """Whether the record is that of an array's waiting tasks."""
    return "[" in job.id and job.status.state is State.PENDING


def _agree(past: Job, job: Job) -> bool:
    """Whether both know how the job ended, or that it is suspended: then accounting knows more."""
    if job.status.state.ended:
        return has_end(past)
    return past.status.state is job.status.state is State.SUSPENDED


def parse_submitted(text: str) -> str:
    """The id that `sbatch --parsable` prints, `77` or `77;cluster`, after whatever a site's filters print."""
    match = re.search(r"^(\d+)(;.*)?\s*\Z", text, re.MULTILINE)
    if match is None:
        raise BackendError("Unable to submit new job")
    return match[1]


def parse_submitted_from(text: str, mark: str, session: str, since: int) -> frozenset[str]:
    """The ids of jobs that were submitted from a session that began at `since`, from what submitted.sh prints.

    Session numbers come again: after 32768 processes on some systems, which a busy login node starts within minutes. So
    a job counts only when it is no older than the session, each by the clock that its time comes from. Raises
    BackendError when there is no job and the session has not ended, and when the clocks do not tell.
    """
    table, _, last = text.rstrip("\n").rpartition("\n")
    same = [row for row in table_rows(table, SUBMITTED_FIELDS, mark) if row["AllocSID"] == session]
    ended, slurmctld, login = _session_end(last)
    jobs = frozenset(
        whole_job(row["JobArrayID"])
        for row in same
        if _age(row["SubmitTime"], slurmctld) <= _age(str(since), login) + _ROUNDING
    )
    if not jobs and not ended:
        raise BackendError("The session that submits has not ended.")
    return jobs


def _session_end(line: str) -> tuple[bool, str, str]:
    """The last line of submitted.sh: whether the session had ended, and the clocks of slurmctld and the login node."""
    match = _SESSION_END.fullmatch(line)
    if match is None:
        raise _unknown_form()
    return match[1] == "yes", match[2], match[3]


def _age(moment: str, now: str) -> int:
    """The seconds between two times of one clock; BackendError for what is none."""
    then, clock = epoch(moment), epoch(now)
    if then is None or clock is None or then > clock:
        raise _unknown_form()
    return clock - then


def _unknown_form() -> BackendError:
    return BackendError("Slurm answered in a form that is not known here.")


def parse_cancelled(text: str) -> None:
    """Nothing; raises the error that `scancel -v` reports. Its exit status is in the last line."""
    messages, _, status = text.rstrip("\n").rpartition("\n")
    refused = failures.refused_cancellation(Output(number(status) or 0, "", messages))
    if refused is not None:
        raise refused

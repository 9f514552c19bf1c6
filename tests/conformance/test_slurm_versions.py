"""The slurm plugin on all that was recorded, of each version of Slurm: nothing is lost, no word is unknown."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from passerelle.compute.scheduler import Account, Job, LimitExceeded, Refused, State, Step
from passerelle.compute.schedulers.slurm import job_outputs, site
from passerelle.compute.schedulers.slurm.failures import Heterogeneous
from passerelle.compute.schedulers.slurm.states import plain_state, state_of
from passerelle.runtime import errors
from passerelle.runtime.errors import (
    ApiError,
    BackendError,
    BackendUnavailable,
    FailedPrecondition,
    Forbidden,
    NotFound,
)
from tests.conformance.recordings import RECORDED, Recording, recordings
from tests.conformance.slurm_commands import command_of

NEWEST = RECORDED / "slurm-26.05"

# What the plugin asks no more, or never did: recorded to be looked up.
UNASKED = {
    ("federation", "scontrol"),
    ("private-data", "sh"),
    ("sacct-batch-script", "sacct"),
    ("sacct-errors", "sacct"),
    ("sacct-streams", "sacct"),
    ("sbatch-queue-full", "timeout"),
    ("sbatch-submissions", "env"),
    ("sbatch-submissions", "sbatch"),
    ("scancel", "scancel"),
    ("scontrol-ping", "scontrol"),
    ("scrontab", "scrontab"),
    ("slurmctld-down", "scontrol"),
    ("slurmctld-down", "sh"),
    ("slurmdbd-down", "squeue"),
    ("squeue-helpformat", "sh"),
    ("user-accounts", "scontrol"),
    ("user-accounts", "sh"),
}
# What is refused, by file and state; what is not here is answered.
REFUSED: dict[type[ApiError], set[tuple[str, str]]] = {
    NotFound: {
        ("private-data", "somebody else's job"),
        ("private-data", "show job"),
        ("sacct-batch-script", "unknown"),
        ("sacct-batch-script", "somebody else's"),
        ("sacct-errors", "letters"),
        ("scancel", "unknown"),
        ("scancel", "no such task"),
        ("scancel", "letters"),
        ("scontrol-show-job", "unknown"),
        ("scontrol-show-job", "array task that is not there"),
        ("scontrol-show-job", "letters"),
        ("squeue-errors", "unknown job"),
        ("squeue-errors", "letters"),
        ("squeue-errors", "zero"),
        ("srun-attach", "unknown job"),
        ("srun-attach", "letters"),
    },
    Forbidden: {
        ("private-data", "nodes"),
        ("private-data", "partitions"),
        ("private-data", "scancel"),
        ("scancel", "somebody else's running job"),
        ("srun-attach", "somebody else's"),
    },
    LimitExceeded: {("sbatch-submissions", "limit of submitted jobs is 0")},
    FailedPrecondition: {
        ("scrontab", "scancel without --cron, ScronParameters=explicit_scancel"),
        ("srun-attach", "command fails"),
        ("srun-attach", "command killed"),
        ("srun-attach", "no such command"),
        ("srun-attach", "completed"),
        ("srun-attach", "pending"),
        ("srun-attach", "held"),
        ("srun-attach", "an array"),
        ("srun-attach", "with gpu"),
    },
    Heterogeneous: {("srun-attach", "a het job")},
    BackendUnavailable: {
        ("slurmctld-down", "squeue"),
        ("slurmctld-down", "squeue one"),
        ("slurmctld-down", "steps"),
        ("slurmctld-down", "sinfo"),
        ("slurmctld-down", "partitions"),
        ("slurmctld-down", "reservations"),
        ("slurmctld-down", "ping"),
        ("slurmctld-down", "scancel"),
        ("slurmctld-down", "show job"),
        ("slurmdbd-down", "sacct"),
        ("slurmdbd-down", "sacct one"),
        ("slurmdbd-down", "accounts of the database"),
        ("slurmdbd-down", "sacct --batch-script"),
    },
    BackendError: {  # no answer to a caller's mistake: a request cannot bring them about
        ("sacct-errors", "unknown user"),
        ("squeue-errors", "unknown cluster"),
    },
}


def recorded(directory: Path) -> Iterator[tuple[str, Recording]]:
    for file in sorted(directory.glob("*.txt")):
        yield from ((file.stem, recording) for recording in recordings(file))


def questions(*directories: Path) -> list[Any]:
    """What the plugin asks, and was asked when it was recorded: `(file, recording)`, named for pytest."""
    return [
        pytest.param(name, result, id=f"{directory.name}-{name}-{result.state or result.argv[-1]}")
        for directory in directories
        for name, result in recorded(directory)
        if command_of(result.argv)
    ]


def refusal(name: str, recording: Recording) -> type[ApiError] | None:
    reported = [kind for kind, which in REFUSED.items() if (name, recording.state) in which]
    if not reported and name == "sbatch-submissions" and recording.output.status:
        return Refused
    return reported[0] if reported else None


def answer(recording: Recording) -> Any:
    command = command_of(recording.argv)
    assert command is not None
    return recording.result(command)


@pytest.mark.parametrize(("name", "recording"), questions(NEWEST))
def test_every_answer_of_the_newest_is_understood(name: str, recording: Recording) -> None:
    kind = refusal(name, recording)
    if kind is None:
        answer(recording)
        return
    with pytest.raises(errors.ApiError) as raised:
        answer(recording)
    assert type(raised.value) is kind
    assert raised.value.detail


def test_nothing_that_was_recorded_is_left_out() -> None:
    left = {
        (name, result.argv[0]) for name, result in recorded(NEWEST) if not command_of(result.argv)
    }
    assert left == UNASKED
    states = {(name, result.state) for name, result in recorded(NEWEST)}
    assert {one for which in REFUSED.values() for one in which} <= states


def tables(*fields: str) -> list[Any]:
    """The recorded answers that have these fields."""
    return [
        param
        for param in questions(RECORDED / "slurm-22.05", NEWEST)
        if all(any(field in word for word in param.values[1].argv) for field in fields)
        and param.values[1].output.status == 0
    ]


def records(recording: Recording, fields: Iterable[str]) -> list[dict[str, str]]:
    """The records of a table, cut at its marks; their ids tell them apart."""
    values = [value.lstrip("\n") for value in recording.output.stdout.split("{mark}")[:-1]]
    names = tuple(fields)
    assert len(values) % len(names) == 0
    rows = [values[at : at + len(names)] for at in range(0, len(values), len(names))]
    return [dict(zip(names, row, strict=True)) for row in rows]


@pytest.mark.parametrize(("name", "recording"), tables("squeue", "JobArrayID"))
def test_jobs_of_squeue(name: str, recording: Recording) -> None:
    jobs: dict[str, Job] = {job.id: job for job in answer(recording)}
    rows = {row["JobArrayID"]: row for row in records(recording, job_outputs.QUEUE_FIELDS)}
    assert jobs.keys() == rows.keys()
    for job_id, row in rows.items():
        job = jobs[job_id]
        assert (job.status.word, job.name, job.account) == (
            row["State"],
            row["Name"],
            row["Account"],
        )
        assert job.status.state is not State.UNSPECIFIED
        assert (job.time.start is None) == (row["StartTime"] == "N/A")
        assert (job.time.limit is None) == (row["TimeLimit"] in ("UNLIMITED", "INVALID"))
        assert job.priority == int(row["PriorityLong"])
        if job.status.state.ended:
            assert None not in (job.status.exit_code, job.status.signal, job.time.end)


@pytest.mark.parametrize(("name", "recording"), tables("squeue", "StepID"))
def test_steps_of_squeue(name: str, recording: Recording) -> None:
    steps: dict[str, tuple[Step, ...]] = answer(recording)
    reported = {step.id: step for of_job in steps.values() for step in of_job}
    rows = {row["StepID"]: row for row in records(recording, job_outputs.STEP_FIELDS)}
    assert reported.keys() == rows.keys()
    assert all(step.time.start and step.time.elapsed is not None for step in reported.values())
    assert all(step.name == rows[step_id]["StepName"] for step_id, step in reported.items())


@pytest.mark.parametrize(("name", "recording"), tables("sacct", "ElapsedRaw"))
def test_jobs_and_steps_of_sacct(name: str, recording: Recording) -> None:
    jobs: tuple[Job, ...] = answer(recording)
    reported: dict[str, Job | Step] = {job.id: job for job in jobs}
    reported |= {step.id: step for job in jobs for step in job.steps}
    rows = {row["JobID"]: row for row in records(recording, job_outputs.HISTORY_FIELDS)}
    assert reported.keys() == rows.keys()
    for one_id, row in rows.items():
        status, time = reported[one_id].status, reported[one_id].time
        assert status.word == plain_state(row["State"])
        assert status.state is state_of(row["State"]) is not State.UNSPECIFIED
        assert f"{status.exit_code}:{status.signal}" == row["ExitCode"]
        assert (time.start is None) == (row["Start"] in ("Unknown", "None"))
        assert (time.end is None) == (row["End"] == "Unknown")
        assert None not in (time.elapsed, time.suspended)
    for job in jobs:
        by = rows[job.id]["State"].partition(" by ")[2]
        assert job.kill_request_user == (by or None)
        assert (job.time.limit is None) == (rows[job.id]["TimelimitRaw"] == "UNLIMITED")


@pytest.mark.parametrize(("name", "recording"), tables("sinfo"))
def test_nodes_of_sinfo(name: str, recording: Recording) -> None:
    nodes = answer(recording)
    rows = records(recording, site.NODE_FIELDS)
    assert {(node.name, part) for node in nodes for part in node.partitions} == {
        (row["N"], row["R"]) for row in rows
    }
    words = {row["N"]: row["T"] for row in rows}
    for node in nodes:
        assert node.states[0].lower() == words[node.name].rstrip("*~#!%$@^-")
        assert None not in (node.sockets, node.cores, node.threads, node.memory, node.cpu_load)
        assert node.allocated_cpus + node.idle_cpus <= node.cpus


def test_the_newest_squeue_has_every_field_that_is_asked_for() -> None:
    (names,) = recordings(NEWEST / "squeue-helpformat.txt")
    known = {word.lower() for word in names.output.stdout.split()}
    assert {field.lower() for field in job_outputs.QUEUE_FIELDS} <= known


def test_the_newest_sacct_has_every_field_that_is_asked_for() -> None:
    (names,) = (one for _, one in recorded(NEWEST) if one.state == "all fields")
    assert set(job_outputs.HISTORY_FIELDS) <= set(names.output.stdout.split())


def test_every_state_that_the_newest_names_is_known() -> None:
    (names,) = recordings(NEWEST / "squeue-helpformat.txt")
    words = names.output.stdout.split()
    at = words.index("pending")
    states = words[at : at + 15]
    assert states[-1] == "expediting"
    assert State.UNSPECIFIED not in {state_of(word.upper()) for word in states}


@pytest.mark.parametrize(
    ("state", "accounts"),
    [
        ("alice", (Account("proj1", True), Account("proj1sub", False), Account("tiny", False))),
        ("bob", (Account("proj2", True),)),
    ],
)
def test_accounts_of_slurmctld(state: str, accounts: tuple[Account, ...]) -> None:
    recording = {one.state: one for one in recordings(NEWEST / "user-accounts.txt")}[state]
    associations = recording.output.stdout.partition("\n")[
        2
    ]  # then `id` was asked in the first line
    who = "passerelle-user 1001 1002 1002\nalice\nalice:x:1002:\npasserelle-accounts\n"
    assert site.parse_user(who + associations).accounts == accounts

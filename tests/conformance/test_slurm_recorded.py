"""What the slurm plugin makes of a real Slurm 22.05, value by value."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from passerelle.compute.scheduler import (
    Account,
    JobFilter,
    LimitExceeded,
    PosixName,
    State,
    Status,
)
from passerelle.compute.schedulers.conformance import Prepared
from passerelle.runtime.errors import FailedPrecondition, Forbidden, InvalidArgument, NotFound
from tests.conformance.record_slurm import HOSTILE_NAME, JOBS, MISTAKES, described
from tests.conformance.schedulers.slurm import prepared
from tests.unit.compute.local_shell import LocalShell

pytestmark = pytest.mark.usefixtures("alice")


@pytest.fixture
async def recorded(tmp_path: Path) -> AsyncIterator[Prepared]:
    async with prepared(LocalShell(tmp_path), tmp_path) as recorded:
        yield recorded


def programs(recorded: Prepared) -> list[str]:
    lines = [line.split("SLURM_TIME_FORMAT=%s ", 1)[1] for line in recorded.lines]
    return sorted(line.split()[0] for line in lines)


async def test_a_running_job_is_answered_by_slurmctld_alone(recorded: Prepared) -> None:
    (job,) = await recorded.scheduler.job(recorded.jobs["running"])
    assert programs(recorded) == ["squeue", "squeue"]
    assert job.status == Status(State.RUNNING, "RUNNING", "None", 0, 0)
    assert (job.time.end, job.time.suspended, job.time.limit) == (None, 0, 3600)
    assert [step.id.partition(".")[2] for step in job.steps] == ["batch", "1"]
    assert {step.status for step in job.steps} == {Status(State.RUNNING, "RUNNING", None, 0, 0)}
    assert (job.account, job.group, job.cluster, job.nodes) == ("proj1", "alice", "lab", "cn01")


async def test_a_pending_job_is_answered_by_slurmctld_alone(recorded: Prepared) -> None:
    (job,) = await recorded.scheduler.job(recorded.jobs["pending"])
    assert programs(recorded) == ["squeue", "squeue"]
    assert job.status == Status(State.PENDING, "PENDING", "BeginTime", None, None)
    assert (job.time.elapsed, job.time.suspended, job.time.limit) == (0, None, 93840)
    assert job.time.start is not None
    assert job.time.end == job.time.start + 93840
    assert (job.nodes, job.node_count, job.steps) == ("", 1, ())


async def test_a_hostile_name_is_a_name(recorded: Prepared) -> None:
    (job,) = await recorded.scheduler.job(recorded.jobs["hostile"])
    assert job.name == HOSTILE_NAME
    listed = await recorded.scheduler.jobs(JobFilter(user="alice", name=HOSTILE_NAME))
    assert [job.id for job in listed] == [recorded.jobs["hostile"]]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("succeeded", Status(State.SUCCEEDED, "COMPLETED", "None", 0, 0)),
        ("failed", Status(State.FAILED, "FAILED", "None", 3, 0)),
        ("signalled", Status(State.FAILED, "FAILED", "None", 0, 15)),
        ("timeout", Status(State.TIMEOUT, "TIMEOUT", "None", 0, 0)),
        ("cancelled", Status(State.CANCELLED, "CANCELLED", "None", 0, 0)),
        ("dropped", Status(State.CANCELLED, "CANCELLED", "BeginTime", 0, 0)),
        ("suspended", Status(State.SUSPENDED, "SUSPENDED", "None", 0, 0)),
        ("held", Status(State.PENDING, "PENDING", "JobHeldUser", None, None)),
        ("forgotten", Status(State.FAILED, "FAILED", "None", 3, 0)),
    ],
)
async def test_status(recorded: Prepared, kind: str, status: Status) -> None:
    (job,) = await recorded.scheduler.job(recorded.jobs[kind])
    assert job.status == status


async def test_steps_of_an_ended_job(recorded: Prepared) -> None:
    (job,) = await recorded.scheduler.job(recorded.jobs["failed"])
    assert [(step.name, step.status) for step in job.steps] == [
        ("batch", Status(State.FAILED, "FAILED", None, 3, 0)),
        ("true", Status(State.SUCCEEDED, "COMPLETED", None, 0, 0)),
    ]
    assert all(step.time.limit is None for step in job.steps)


async def test_a_job_that_never_ran_has_no_start(recorded: Prepared) -> None:
    (job,) = await recorded.scheduler.job(recorded.jobs["dropped"])
    assert (job.time.start, job.nodes, job.node_count) == (None, "None assigned", 0)


async def test_how_long_a_job_was_suspended(recorded: Prepared) -> None:
    (job,) = await recorded.scheduler.job(recorded.jobs["suspended"])
    assert job.time.suspended is not None
    assert job.time.suspended > 60


async def test_all_tasks_of_an_array(recorded: Prepared) -> None:
    array = recorded.jobs["array"]
    jobs = await recorded.scheduler.job(array)
    assert [(job.id, job.status.exit_code) for job in jobs] == [
        (f"{array}_0", 0),
        (f"{array}_1", 1),
        (f"{array}_2", 2),
    ]


async def test_an_array_that_runs_one_task_and_waits_with_the_others(recorded: Prepared) -> None:
    array = recorded.jobs["array_waiting"]
    jobs = await recorded.scheduler.job(array)
    assert [(job.id, job.status.word) for job in jobs] == [
        (f"{array}_1", "RUNNING"),
        (array, "PENDING"),
    ]
    assert [step.id for step in jobs[0].steps] == [f"{array}_1.batch"]


async def test_one_task_of_an_array_is_answered_by_slurmctld_alone(recorded: Prepared) -> None:
    (job,) = await recorded.scheduler.job(f"{recorded.jobs['array_waiting']}_1")
    assert programs(recorded) == ["squeue", "squeue"]
    assert job.status.state is State.RUNNING


async def test_somebody_elses_job_is_shown(recorded: Prepared) -> None:
    (job,) = await recorded.scheduler.job(recorded.jobs["foreign"])
    assert (job.user, job.group, job.account) == ("bob", "bob", "proj2")


async def test_lists_differ_by_user(recorded: Prepared) -> None:
    mine = await recorded.scheduler.jobs(JobFilter(user="alice"))
    everybodys = await recorded.scheduler.jobs(JobFilter())
    assert {job.user for job in mine} == {"alice"}
    assert {job.user for job in everybodys} == {"alice", "bob"}
    assert not await recorded.scheduler.jobs(JobFilter(user="alice", account="tiny"))


async def test_metadata_of_a_running_job(recorded: Prepared) -> None:
    running = recorded.jobs["running"]
    metadata = await recorded.scheduler.metadata(running)
    assert metadata.script == JOBS["running"]["script"]
    assert metadata.standard_input == "/dev/null"
    assert metadata.standard_output == f"/tmp/slurm-{running}.out"


async def test_a_hostile_name_is_no_path_in_the_metadata(recorded: Prepared) -> None:
    hostile = recorded.jobs["hostile"]
    metadata = await recorded.scheduler.metadata(hostile)
    assert metadata.standard_output == metadata.standard_error == f"/tmp/slurm-{hostile}.out"


async def test_metadata_of_somebody_elses_job_has_no_script(recorded: Prepared) -> None:
    metadata = await recorded.scheduler.metadata(recorded.jobs["foreign"])
    assert metadata.script is None
    assert metadata.standard_output == f"/tmp/slurm-{recorded.jobs['foreign']}.out"


async def test_metadata_of_a_job_that_slurmctld_has_forgotten(recorded: Prepared) -> None:
    metadata = await recorded.scheduler.metadata(recorded.jobs["forgotten"])
    assert metadata.script == "#!/bin/bash\nsrun --overlap true\nexit 3\n"
    assert metadata.standard_input == "/dev/null"
    assert metadata.standard_output == metadata.standard_error == "/tmp/out-0017.txt"


async def test_nodes(recorded: Prepared) -> None:
    first, second = await recorded.scheduler.nodes()
    assert (first.name, first.partitions) == ("cn01", ("debug", "normal"))
    assert (first.sockets, first.cores, first.threads, first.cpus) == (16, 1, 1, 16)
    assert (first.features, first.memory, first.weight) == ("mc,cpu", 8000, 1)
    assert (second.name, second.partitions) == ("cn02", ("normal", "secret"))


async def test_hidden_partitions_are_told_apart(recorded: Prepared) -> None:
    partitions = await recorded.scheduler.partitions()
    reported = [(p.name, p.state, p.cpus, p.node_count, p.hidden) for p in partitions]
    assert reported == [
        ("normal", "UP", 32, 2, False),
        ("debug", "UP", 16, 1, False),
        ("secret", "UP", 16, 1, True),
    ]


async def test_reservations(recorded: Prepared) -> None:
    training, now = await recorded.scheduler.reservations()
    assert (training.name, training.nodes) == ("training", "cn02")
    assert (training.features, training.state) == ("gpu", "inactive")
    assert training.end - training.start == 7200
    assert (now.name, now.features, now.state) == ("alice_now", None, "active")


async def test_the_user_and_the_accounts_come_in_one_command(recorded: Prepared) -> None:
    user_info = await recorded.scheduler.user_info()
    assert user_info.groups == (PosixName("1002", "alice"), PosixName("1001", "research"))
    assert user_info.accounts == (
        Account("proj1", True),
        Account("proj1sub", False),
        Account("tiny", False),
    )
    assert len(recorded.lines) == 1


async def test_what_may_not_be_done_to_a_job(recorded: Prepared) -> None:
    scheduler, jobs = recorded.scheduler, recorded.jobs
    with pytest.raises(Forbidden, match="Access/permission denied"):
        await scheduler.cancel(jobs["foreign"])
    with pytest.raises(Forbidden, match="Access/permission denied"):
        await scheduler.attach(jobs["foreign"], "true")
    with pytest.raises(FailedPrecondition, match="pending execution"):
        await scheduler.attach(jobs["pending"], "true")
    with pytest.raises(FailedPrecondition, match="has expired"):
        await scheduler.attach(jobs["succeeded"], "true")
    with pytest.raises(FailedPrecondition, match="Exited with exit code 3"):
        await scheduler.attach(jobs["running"], "exit 3")
    with pytest.raises(NotFound):
        await scheduler.cancel("99999999")


async def test_cancelling(recorded: Prepared) -> None:
    await recorded.scheduler.cancel(recorded.jobs["hostile"])
    assert recorded.lines[-1].endswith(f" scancel {recorded.jobs['hostile']}")


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
async def test_a_refused_submission_tells_why(recorded: Prepared, mistake: dict[str, str]) -> None:
    kind = Forbidden if mistake.get("account") == "tiny" else InvalidArgument
    with pytest.raises(kind, match="sbatch: "):
        await recorded.scheduler.submit(described(**mistake))


async def test_an_exceeded_limit(recorded: Prepared) -> None:
    with pytest.raises(LimitExceeded, match=r"^sbatch: error: Assoc"):
        await recorded.scheduler.submit(described(account="tiny"))


async def test_a_submission_gives_the_id(recorded: Prepared) -> None:
    job = described(**{"name": "succeeded", **JOBS["succeeded"]})
    assert await recorded.scheduler.submit(job) == recorded.jobs["succeeded"]
    with pytest.raises(KeyError):  # the recordings know nothing of another name
        await recorded.scheduler.submit(replace(job, name="other"))

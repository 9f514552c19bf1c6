"""Which of Slurm's commands answer a question, and what is remembered."""

import asyncio
from collections.abc import Iterator

import pytest

from passerelle.compute.scheduler import JobDescription, JobFilter, State
from passerelle.compute.schedulers.slurm import Slurm, job_outputs, metadata_outputs
from passerelle.compute.schedulers.slurm.stream_paths import Streams
from passerelle.runtime import caller
from passerelle.runtime.command import Output
from passerelle.runtime.errors import BackendError, BackendUnavailable, NotFound
from tests.unit.compute import scripted_shell as slurm
from tests.unit.compute.scripted_shell import NOTHING, UNKNOWN_JOB, ScriptedShell

CTLD = ["squeue", "steps"]
BOTH = ["sacct", "squeue", "steps"]
DISABLED = Output(1, "", "Slurm accounting storage is disabled\n")
NO_DBD = Output(1, "", "sacct: error: Problem talking to the database: Connection refused\n")
NO_CTLD = Output(
    1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"
)
ENDED = {"State": "COMPLETED", "EndTime": "1065", "TimeUsed": "1:05"}


@pytest.fixture(autouse=True)
def alice() -> Iterator[None]:
    with caller.bind(caller.Caller("alice", "")):
        yield


def ended_job() -> ScriptedShell:
    return ScriptedShell(
        squeue=slurm.queue(ENDED), sacct=slurm.history({}, {"JobID": "7.batch", "User": ""})
    )


async def test_an_ended_job_is_asked_of_accounting_once() -> None:
    shell = ended_job()
    scheduler = Slurm(shell, Slurm.Options())
    first = await scheduler.job("7")
    assert shell.programs == BOTH
    shell.commands.clear()
    assert await scheduler.job("7") == first
    assert shell.programs == CTLD
    assert [step.id for step in first[0].steps] == ["7.batch"]


async def test_a_remembered_job_needs_slurmctld_to_know_nothing_else() -> None:
    shell = ended_job()
    scheduler = Slurm(shell, Slurm.Options())
    first = await scheduler.job("7")
    shell.answers["squeue"] = UNKNOWN_JOB
    shell.commands.clear()
    assert await scheduler.job("7") == first
    assert shell.programs == CTLD


async def test_a_requeued_job_is_not_the_remembered_one() -> None:
    shell = ended_job()
    scheduler = Slurm(shell, Slurm.Options())
    await scheduler.job("7")
    shell.answers["squeue"] = slurm.queue({})
    (running,) = await scheduler.job("7")
    assert running.status.state is State.RUNNING
    shell.answers["squeue"] = slurm.queue(ENDED | {"EndTime": "2000"})
    shell.answers["sacct"] = slurm.history({"End": "2000"})
    (again,) = await scheduler.job("7")
    assert again.time.end == 2000


async def test_what_one_user_was_told_is_not_remembered_for_another() -> None:
    shell = ended_job()
    scheduler = Slurm(shell, Slurm.Options())
    await scheduler.job("7")
    shell.commands.clear()
    with caller.bind(caller.Caller("bob", "")):
        await scheduler.job("7")
    assert "sacct" in shell.programs


async def test_accounting_may_lag() -> None:
    """It still has the job as running when slurmctld has it as ended: asked again next time."""
    shell = ScriptedShell(
        squeue=slurm.queue(ENDED | {"State": "FAILED", "exit_code": "768"}),
        sacct=slurm.history({"State": "RUNNING", "End": "Unknown"}),
    )
    scheduler = Slurm(shell, Slurm.Options())
    (job,) = await scheduler.job("7")
    assert (job.status.word, job.status.exit_code, job.time.end) == ("FAILED", 3, 1065)
    shell.answers["sacct"] = slurm.history({"State": "FAILED", "ExitCode": "3:0"}, {"JobID": "7.0"})
    (job,) = await scheduler.job("7")
    assert [step.id for step in job.steps] == ["7.0"]


async def test_a_record_that_accounting_has_only_begun_is_neither_told_nor_remembered() -> None:
    begun = slurm.history({"Partition": "", "Group": "root", "WorkDir": "", "TimelimitRaw": ""})
    shell = ScriptedShell(squeue=slurm.queue(ENDED), sacct=begun)
    scheduler = Slurm(shell, Slurm.Options())
    assert (await scheduler.job("7"))[0].partition == "normal"
    shell.answers["sacct"] = slurm.history({}, {"JobID": "7.batch", "User": ""})
    assert [step.id for step in (await scheduler.job("7"))[0].steps] == ["7.batch"]


async def test_a_record_with_the_state_but_not_the_end_is_neither_told_nor_remembered() -> None:
    """What Slurm 22.05 told of a job that ended before the message of its start was sent."""
    shell = ScriptedShell(
        squeue=slurm.queue(ENDED | {"State": "FAILED", "exit_code": "768"}),
        sacct=slurm.history(
            {"State": "FAILED", "ExitCode": "0:0", "End": "Unknown"},
            {"JobID": "7.batch", "State": "RUNNING", "ExitCode": "0:0", "End": "Unknown"},
        ),
    )
    scheduler = Slurm(shell, Slurm.Options())
    for ask in (scheduler.job("7"), scheduler.jobs(JobFilter(user="alice"))):
        (job,) = await ask
        assert (job.status.word, job.status.exit_code, job.time.end) == ("FAILED", 3, 1065)
    shell.answers["sacct"] = slurm.history({"State": "FAILED", "ExitCode": "3:0"}, {"JobID": "7.0"})
    (job,) = await scheduler.job("7")
    assert [step.id for step in job.steps] == ["7.0"]


async def test_the_name_is_slurmctlds_because_accounting_reduces_it() -> None:
    shell = ScriptedShell(
        squeue=slurm.queue(ENDED | {"Name": "日本"}), sacct=slurm.history({"JobName": "??"})
    )
    (job,) = await Slurm(shell, Slurm.Options()).job("7")
    assert job.name == "日本"


async def test_without_accounting_slurmctld_must_do() -> None:
    shell = ScriptedShell(squeue=slurm.queue(ENDED), sacct=DISABLED)
    scheduler = Slurm(shell, Slurm.Options())
    (job,) = await scheduler.job("7")
    assert (job.status.word, job.status.exit_code) == ("COMPLETED", 0)
    assert [job.id for job in await scheduler.jobs(JobFilter())] == ["7"]
    shell.answers["squeue"] = UNKNOWN_JOB
    with pytest.raises(NotFound):
        await scheduler.job("7")


async def test_without_accounting_a_forgotten_job_is_unknown() -> None:
    shell = ScriptedShell(scontrol=UNKNOWN_JOB, sacct=DISABLED)
    with pytest.raises(NotFound):
        await Slurm(shell, Slurm.Options()).metadata("7")


async def test_when_accounting_is_down_a_known_job_is_told_of_all_the_same() -> None:
    shell = ScriptedShell(squeue=slurm.queue(ENDED), sacct=NO_DBD)
    scheduler = Slurm(shell, Slurm.Options())
    assert (await scheduler.job("7"))[0].status.word == "COMPLETED"
    shell.answers["squeue"] = UNKNOWN_JOB
    with pytest.raises(BackendUnavailable):
        await scheduler.job("7")
    shell.answers["squeue"] = slurm.queue({})
    with pytest.raises(BackendUnavailable):
        await scheduler.jobs(JobFilter())


async def test_slurmctld_down_is_no_missing_job() -> None:
    shell = ScriptedShell(squeue=NO_CTLD, steps=NO_CTLD, sacct=NOTHING)
    with pytest.raises(BackendUnavailable, match="Unable to contact slurm controller"):
        await Slurm(shell, Slurm.Options()).job("7")


async def test_an_unknown_state_is_unspecified() -> None:
    shell = ScriptedShell(
        squeue=slurm.queue({"State": "NEWEST"}), sacct=slurm.history({"State": "NEWEST"})
    )
    (job,) = await Slurm(shell, Slurm.Options()).job("7")
    assert (job.status.state, job.status.word) == (State.UNSPECIFIED, "NEWEST")


async def test_commands_of_one_question_run_together() -> None:
    shell = ScriptedShell(squeue=slurm.queue({}))
    shell.gate.clear()
    asking = asyncio.create_task(Slurm(shell, Slurm.Options()).job("7"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert shell.programs == CTLD
    shell.gate.set()
    await asking


async def test_a_history_is_reused_and_renewed_when_a_job_ends() -> None:
    shell = ScriptedShell(
        squeue=slurm.queue({}), sacct=slurm.history({"State": "RUNNING", "End": "Unknown"})
    )
    scheduler = Slurm(shell, Slurm.Options(history_cache_seconds=1000))
    await scheduler.jobs(JobFilter(user="alice"))
    assert shell.programs == BOTH
    shell.commands.clear()
    await scheduler.jobs(JobFilter(user="alice", name="job"))  # the same history
    assert shell.programs == CTLD
    shell.answers |= {"squeue": slurm.queue(ENDED), "sacct": slurm.history({})}
    (job,) = await scheduler.jobs(JobFilter(user="alice"))
    assert shell.programs == sorted([*CTLD, *BOTH])
    assert job.status.word == "COMPLETED"


async def test_a_job_that_accounting_never_gets_is_not_waited_for_again_and_again() -> None:
    shell = ScriptedShell(squeue=slurm.queue({}), sacct=slurm.history())
    scheduler = Slurm(shell, Slurm.Options(history_cache_seconds=1000))
    await scheduler.jobs(JobFilter())
    shell.answers["squeue"] = slurm.queue(ENDED)
    await scheduler.jobs(JobFilter())
    shell.commands.clear()
    (job,) = await scheduler.jobs(JobFilter())
    assert shell.programs == CTLD
    assert job.status.word == "COMPLETED"


async def test_histories_are_kept_by_user_and_by_what_was_wanted() -> None:
    shell = ScriptedShell(squeue=slurm.queue(), sacct=slurm.history())
    scheduler = Slurm(shell, Slurm.Options(history_cache_seconds=1000))
    await scheduler.jobs(JobFilter(user="alice"))
    for wanted in (JobFilter(), JobFilter(user="alice", account="a"), JobFilter("alice", window=1)):
        shell.commands.clear()
        await scheduler.jobs(wanted)
        assert "sacct" in shell.programs
    shell.commands.clear()
    with caller.bind(caller.Caller("bob", "")):
        await scheduler.jobs(JobFilter())
    assert "sacct" in shell.programs


async def test_kept_histories_are_bounded_by_their_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("passerelle.compute.schedulers.command_line.history._MAX_JOBS", 5)
    shell = ScriptedShell(squeue=slurm.queue(), sacct=slurm.history({"JobID": "1"}, {"JobID": "2"}))
    scheduler = Slurm(shell, Slurm.Options(history_cache_seconds=1000))

    async def asks_accounting(window: int) -> bool:
        shell.commands.clear()
        await scheduler.jobs(JobFilter(window=window))
        return "sacct" in shell.programs

    assert [await asks_accounting(window) for window in (1, 1, 2, 2, 1)] == [
        *(True, False, True, False),
        True,  # the list of the second window took its place
    ]
    shell.answers["sacct"] = slurm.history(*({"JobID": str(number)} for number in range(1, 7)))
    assert [await asks_accounting(3), await asks_accounting(3)] == [True, True]  # too long to keep


async def test_a_queue_of_many_jobs_is_complete_and_in_order() -> None:
    ids = [str(number) for number in range(1, 2001)]
    shell = ScriptedShell(
        squeue=slurm.queue(*({"JobArrayID": job_id} for job_id in reversed(ids))),
        steps=slurm.steps({"StepID": "1500.0"}),
        sacct=slurm.history({"JobID": "9999"}),
    )
    jobs = await Slurm(shell, Slurm.Options()).jobs(JobFilter())
    assert [job.id for job in jobs] == [*ids, "9999"]
    assert [job.id for job in jobs if job.steps] == ["1500"]


async def test_waiting_tasks_that_accounting_still_has_are_stale() -> None:
    shell = ScriptedShell(
        squeue=slurm.queue({"JobArrayID": "9_1"}, {"JobArrayID": "9_[2-4]", "State": "PENDING"}),
        sacct=slurm.history({"JobID": "9_[1-4]", "State": "PENDING"}, {"JobID": "9_0"}),
    )
    jobs = await Slurm(shell, Slurm.Options()).job("9")
    assert [(job.id, job.status.word) for job in jobs] == [
        ("9_0", "COMPLETED"),
        ("9_1", "RUNNING"),
        ("9", "PENDING"),
    ]


IDENTITY = (
    "passerelle-user 1001 1002 1002 1001 5005\nalice\n"
    "the staff:x:1002:\nresearch, all:x:1001:alice,bob\npasserelle-accounts\n"
)


async def test_accounts_come_from_accounting_where_slurmctld_does_not_tell() -> None:
    shell = ScriptedShell(
        id=Output(1, IDENTITY, ""),
        sacctmgr=Output(0, "proj1|proj1\nproj2|proj1\nproj2|proj1\n", ""),
    )
    user_info = await Slurm(shell, Slurm.Options()).user_info()
    assert [(group.id, group.name) for group in user_info.groups] == [
        ("1002", "the staff"),
        ("1001", "research, all"),
        ("5005", "5005"),
    ]
    assert user_info.accounts is not None
    assert [(a.name, a.is_default) for a in user_info.accounts] == [
        ("proj1", True),
        ("proj2", False),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        NOTHING,
        Output(1, "", "You are not running a supported accounting_storage plugin\n"),
        Output(127, "", "env: 'sacctmgr': No such file or directory\n"),
    ],
)
async def test_a_site_without_accounting_has_no_accounts(answer: Output) -> None:
    shell = ScriptedShell(id=Output(1, IDENTITY, ""), sacctmgr=answer)
    assert (await Slurm(shell, Slurm.Options()).user_info()).accounts is None


async def test_a_user_that_the_system_does_not_know() -> None:
    shell = ScriptedShell(id=Output(1, "", "id: cannot find name\n"))
    with pytest.raises(BackendError):
        await Slurm(shell, Slurm.Options()).user_info()


async def test_ping_of_a_controller_that_is_down() -> None:
    shell = ScriptedShell(scontrol=Output(1, "Slurmctld(primary) at node1 is DOWN\n", ""))
    with pytest.raises(BackendUnavailable, match="is DOWN"):
        await Slurm(shell, Slurm.Options()).ping()


@pytest.mark.parametrize("printed", ["77\n", "77;lab\n", "sbatch: note on stdout\n77\n"])
async def test_the_id_of_a_submission_in_all_its_forms(printed: str) -> None:
    shell = ScriptedShell(sbatch=Output(0, printed, ""))
    assert (
        await Slurm(shell, Slurm.Options()).submit(JobDescription("/tmp", script="#!/bin/sh\n"))
        == "77"
    )


async def test_a_submission_without_an_id_is_an_error() -> None:
    shell = ScriptedShell(sbatch=Output(0, "Submitted\n", ""))
    with pytest.raises(BackendError, match="Unable to submit new job"):
        await Slurm(shell, Slurm.Options()).submit(JobDescription("/tmp", script="#!/bin/sh\n"))


async def test_groups_are_those_of_the_numbers_whatever_their_names() -> None:
    output = (
        "Welcome to the cluster 3!\npasserelle-user 1001 1002 1002 2024 10 7\nDOMAIN\\user (x)\n"
        "HPC (users):*:1002:\nproj (v2),0(root):x:2024:a,b\nwheel:x:10:user\npasserelle-accounts\n"
    )
    shell = ScriptedShell(id=Output(1, output, ""), sacctmgr=NOTHING)
    user_info = await Slurm(shell, Slurm.Options()).user_info()
    assert (user_info.user.id, user_info.user.name) == ("1001", "DOMAIN\\user (x)")
    assert (user_info.group.id, user_info.group.name) == ("1002", "HPC (users)")
    assert [(group.id, group.name) for group in user_info.groups] == [
        ("1002", "HPC (users)"),
        ("2024", "proj (v2),0(root)"),
        ("10", "wheel"),
        ("7", "7"),
    ]


HET = ({"JobArrayID": "372+0"}, {"JobArrayID": "372+1"})


async def test_a_component_of_a_heterogeneous_job_is_asked_for_by_its_id() -> None:
    running = slurm.steps({"StepID": "372.batch"}, {"StepID": "372.0"})
    shell = ScriptedShell(squeue=slurm.queue(*HET), steps=running, sacct=slurm.history())
    scheduler = Slurm(shell, Slurm.Options())
    both = await scheduler.job("372")
    assert [job.id for job in both] == ["372+0", "372+1"]
    assert [step.id for step in both[0].steps] == ["372+0.batch", "372+0.0"]
    assert await scheduler.job("372+0") == both[:1]
    assert await scheduler.job("372+1") == both[1:]
    with pytest.raises(NotFound):
        await scheduler.job("372+9")


def test_a_state_is_the_same_whoever_asks() -> None:
    row = slurm.history({"State": "CANCELLED by 1001"})
    assert callable(row)
    (job,) = job_outputs.parse_history(row("|mark|").stdout, "|mark|")
    assert (job.status.word, job.status.state) == ("CANCELLED", State.CANCELLED)
    assert job.kill_request_user == "1001"


@pytest.mark.parametrize(
    ("records", "output"),
    [
        (("372 HetJobId=372 HetJobOffset=0", "373 HetJobId=372 HetJobOffset=1"), "372"),
        (("9 ArrayJobId=9 ArrayTaskId=2-3%2", "11 ArrayJobId=9 ArrayTaskId=1",
          "10 ArrayJobId=9 ArrayTaskId=0"), "10"),
        (("9 ArrayJobId=9 ArrayTaskId=0-3",), "9"),
    ],
)  # fmt: skip
def test_the_streams_of_several_records_are_the_first_ones(
    records: tuple[str, ...], output: str
) -> None:
    text = "\n\n".join(
        f"JobId={record} JobName=x\n   StdErr=\n   StdIn=/dev/null\n   StdOut=/h/{record.split()[0]}\n"
        for record in records
    )
    result = metadata_outputs.parse_streams(
        f"notice\n{text}", records[0].partition("=")[2].split()[0]
    )
    assert result == Streams("/dev/null", f"/h/{output}", f"/h/{output}")


LINE = "-" * 80


@pytest.mark.parametrize(
    ("output", "script"),
    [
        (f"Batch Script for 7\n{LINE}\n#!/bin/sh\nexit 3\n", "#!/bin/sh\nexit 3\n"),
        (f"Batch Script for 7\n{LINE}\n#!/bin/sh\nexit 3\n\n", "#!/bin/sh\nexit 3\n"),
        (f"Batch Script for 7_0\n{LINE}\n#!/bin/sh\necho xBatch Script for 7_1\n{LINE}\n#!/bin/sh\necho x",
         "#!/bin/sh\necho x"),
        (f"Batch Script for 7+0\n{LINE}\n#!/bin/sh\ntrue\n\nBatch Script for 7+1\n{LINE}\nx\n\n",
         "#!/bin/sh\ntrue\n"),
    ],
)  # fmt: skip
def test_an_archived_script_is_told_once(output: str, script: str) -> None:
    assert metadata_outputs.parse_archived_script(output, "7") == script

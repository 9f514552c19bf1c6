"""The FirecREST profile of compute, over a real gRPC channel."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from firecrest.utilities import sched_state_completed
from google.api.httpbody_pb2 import HttpBody

from passerelle.compute.scheduler import Job
from passerelle.firecrest.v2 import compute_pb2 as pb
from passerelle.runtime.command import Output
from passerelle.surfaces.firecrest.replies import json_reply
from tests.lines import line_of
from tests.unit.compute import scripted_shell as slurm
from tests.unit.compute.scripted_shell import NOTHING, ScriptedShell
from tests.unit.compute.served import Served, body, served

SCRIPT = "#!/bin/bash\ntrue\n"
JOB = {"workingDirectory": "/home/alice", "script": SCRIPT}


@pytest.fixture
async def daint() -> AsyncIterator[Served]:
    shell = ScriptedShell(sacct=NOTHING, sbatch=Output(0, "77\n", ""), scancel=Output(0, "0\n", ""))
    async with served(shell) as daint:
        yield daint


def submission(job: Any, system: str = "daint") -> pb.SubmitJobRequest:
    return pb.SubmitJobRequest(system=system, body=body({"job": job}))


def job(job_id: str, system: str = "daint") -> pb.JobRequest:
    return pb.JobRequest(system=system, job_id=job_id)


def sent_to_sbatch(daint: Served) -> tuple[list[str], str]:
    (command,) = (c for c in daint.shell.commands if slurm.program(c.argv) == "sbatch")
    return [*command.argv[4:]], command.stdin


async def test_a_job_is_submitted_with_201(daint: Served) -> None:
    answer = await daint.ask("SubmitJob", submission(JOB))
    assert (answer.status, answer.body) == (201, {"jobId": "77"})
    assert {*daint.shell.users} == {"alice"}
    argv, stdin = sent_to_sbatch(daint)
    assert argv == ["--parsable", "--chdir=/home/alice", "--export-file=/dev/fd/3"]
    assert stdin == f"=SLURM_JOB_NAME=sbatch\n=F7T_version=v2.0.0\n.\n{SCRIPT}"


async def test_all_that_a_job_can_say(daint: Served) -> None:
    document = {
        **{name: name for name in ("name", "account", "reservation", "partition", "constraints")},
        "workingDirectory": "/w",
        "standardInput": "/i",
        "standardOutput": "o",
        "standardError": "e",
        "env": {"A": "1"},
        "scriptPath": "/s.sh",
    }
    assert (await daint.ask("SubmitJob", submission(document))).status == 201
    argv, stdin = sent_to_sbatch(daint)
    assert argv == [
        *("--parsable", "--chdir=/w", "--job-name=name", "--account=account"),
        *("--partition=partition", "--reservation=reservation", "--constraint=constraints"),
        *("--input=/i", "--output=o", "--error=e", "--export-file=/dev/fd/3", "--", "/s.sh"),
    ]
    assert stdin == "=SLURM_JOB_NAME=name\n=A=1\n.\n"


@pytest.mark.parametrize(
    "spelling",
    [
        {"working_directory": "/home/alice", "script": SCRIPT},
        {"current_working_directory": "/home/alice", "script": SCRIPT},
        {**JOB, "name": None, "account": None, "standard_output": None, "scriptPath": None},
        {**JOB, "environment": {}, "unknown": 1},
        {**JOB, "env": ["F7T_version=v2.0.0"]},
    ],
)
async def test_spellings_of_a_job(daint: Served, spelling: Any) -> None:
    assert (await daint.ask("SubmitJob", submission(spelling))).status == 201
    argv, _ = sent_to_sbatch(daint)
    assert argv[:2] == ["--parsable", "--chdir=/home/alice"]


async def test_an_empty_environment_replaces_the_default(daint: Served) -> None:
    await daint.ask("SubmitJob", submission({**JOB, "env": {}}))
    assert sent_to_sbatch(daint) == (["--parsable", "--chdir=/home/alice"], f".\n{SCRIPT}")


async def test_of_two_scripts_the_file_is_run(daint: Served) -> None:
    daint.shell.answers["sed"] = Output(0, "#SBATCH -J directed\n", "")
    await daint.ask("SubmitJob", submission({**JOB, "scriptPath": "/s.sh"}))
    argv, stdin = sent_to_sbatch(daint)
    assert argv[-1] == "/s.sh"
    assert SCRIPT not in stdin
    assert stdin.startswith("=SLURM_JOB_NAME=directed\n")


async def test_variables_as_a_list_keep_their_commas_and_equal_signs(daint: Served) -> None:
    await daint.ask("SubmitJob", submission({**JOB, "env": ["L=a,b=c", "E="]}))
    assert sent_to_sbatch(daint)[1] == f"=SLURM_JOB_NAME=sbatch\n=L=a,b=c\n=E=\n.\n{SCRIPT}"


@pytest.mark.parametrize(
    ("invalid", "named"),
    [
        ({"script": ""}, "script: must not be empty"),
        ({"script": "a\0b"}, "script: must not contain NUL"),
        ({"script": "x" * ((4 << 20) + 1)}, "script: must have at most"),
        ({"script": "", "scriptPath": ""}, "script: must not be empty"),
        ({"script": "", "scriptPath": "/a\nb"}, "scriptPath: must not contain line breaks"),
        ({"workingDirectory": ""}, "workingDirectory: must not be empty"),
        ({"workingDirectory": "/" + "x" * 4096}, "workingDirectory: must have at most 4096"),
        ({"workingDirectory": "/a\0b"}, "workingDirectory: must not contain NUL"),
        ({"name": "x" * 236}, "name: must have at most 235"),
        ({"name": "a\nb"}, "name: must not contain line breaks"),
        ({"account": "a\0"}, "account: must not contain NUL"),
        ({"standardOutput": "a\rb"}, "standardOutput: must not contain line breaks"),
        ({"env": {"A=B": "1"}}, "env: 'A=B' is no name of a variable"),
        ({"env": {"": "1"}}, "env: '' is no name of a variable"),
        ({"env": {"A" * 256: "0"}}, f"env: the name '{'A' * 100}'… is longer than 255 bytes"),
        ({"env": {"A": "b" * 131072}}, "env: A must have at most 131070 bytes, with its name"),
        ({"env": {"A": "\0"}}, "env: the value of A must not contain NUL"),
        ({"env": ["NOVALUE"]}, "env: 'NOVALUE=' is no name of a variable"),
        ({"env": {"A": "x" * (1 << 20)}}, "env: must have at most"),
        ({"script": 5}, "Input should be a valid string"),
        ({"script": None}, "Input should be a valid string"),
        ({"env": None}, "Input should be a valid"),
        ({"env": {"A": 1}}, "Input should be a valid"),
    ],
)
async def test_a_wrong_job_is_refused_naming_the_field(
    daint: Served, invalid: Any, named: str
) -> None:
    answer = await daint.ask("SubmitJob", submission({**JOB, **invalid}))
    assert answer.status == 400
    assert answer.body["errorType"] == "validation"
    assert set(answer.fields) == {("body", "job")}
    assert named in answer.body["message"]
    assert len(answer.error_text) < 10_000
    assert not daint.shell.commands


@pytest.mark.parametrize(
    "job", [{"script": SCRIPT}, {"currentWorkingDirectory": "/home/alice", "script": SCRIPT}]
)
async def test_a_job_needs_a_working_directory(daint: Served, job: Any) -> None:
    answer = await daint.ask("SubmitJob", submission(job))
    assert (answer.status, answer.fields) == (400, [("body", "job")])
    assert answer.body["data"]["fields"][0]["message"] == "Field required"


async def test_the_system_comes_before_the_body(daint: Served) -> None:
    answer = await daint.ask("SubmitJob", submission({}, system="nosuch"))
    assert (answer.status, answer.body["message"]) == (404, "System not found")
    answer = await daint.ask("GetJob", job("1;id", system="nosuch"))
    assert (answer.status, answer.body["message"]) == (404, "System not found")


async def test_the_caller_comes_before_everything(daint: Served) -> None:
    answer = await daint.ask("SubmitJob", submission({}, system="nosuch"), user="expired")
    assert (answer.status, answer.body["user"]) == (401, None)


async def test_a_refused_submission_is_the_callers_mistake(daint: Served) -> None:
    words = (
        "sbatch: error: invalid partition specified: nosuch\n"
        "sbatch: error: Batch job submission failed: Invalid partition name specified"
    )
    daint.shell.answers["sbatch"] = Output(1, "", words + "\n")
    answer = await daint.ask("SubmitJob", submission({**JOB, "partition": "nosuch"}))
    assert (answer.status, answer.body["message"]) == (400, words)
    assert (answer.body["errorType"], answer.body["user"]) == ("error", "alice")
    assert answer.body["data"] is None  # as FirecREST tells of what the scheduler says


async def test_a_job_in_firecrests_words(daint: Served) -> None:
    daint.shell.answers |= {"squeue": slurm.queue({"Name": "日 本"}), "steps": slurm.steps({})}
    answer = await daint.ask("GetJob", job("7"))
    running = {"state": "RUNNING", "exitCode": 0, "interruptSignal": 0}
    times = {"elapsed": 65, "start": 1000, "end": None, "suspended": 0}
    step = {
        "id": "7.batch",
        "name": "batch",
        "status": {**running, "stateReason": None},
        "time": {**times, "limit": None},
    }
    assert answer.status == 200
    assert answer.body == {
        "jobs": [
            {
                "jobId": "7",
                "name": "日 本",
                "status": {**running, "stateReason": "None"},
                "tasks": [step],
                "time": {**times, "limit": 3600},
                "account": "proj",
                "allocationNodes": 1,
                "cluster": "lab",
                "group": "users",
                "nodes": "cn01",
                "partition": "normal",
                "killRequestUser": None,
                "user": "alice",
                "workingDirectory": "/home/alice",
                "priority": 1000,
            }
        ]
    }


@pytest.mark.parametrize(
    ("word", "output"),
    [("CONFIGURING", "RUNNING"), ("REQUEUE_FED", "PENDING"), ("COMPLETING", "COMPLETING")],
)
async def test_no_job_that_goes_on_has_a_state_that_pyfirecrest_takes_for_its_end(
    daint: Served, word: str, output: str
) -> None:
    daint.shell.answers |= {"squeue": slurm.queue({"State": word}), "steps": NOTHING}
    answer = await daint.ask("GetJob", job("7"))
    assert answer.body["jobs"][0]["status"]["state"] == output
    assert not sched_state_completed(output)  # type: ignore[no-untyped-call]


BY_ID = ["GetJob", "GetJobMetadata", "CancelJob", "AttachJob"]


def by_id(method: str, job_id: str) -> Any:
    if method == "AttachJob":
        return pb.AttachJobRequest(system="daint", job_id=job_id, body=body({"command": "true"}))
    return job(job_id)


@pytest.mark.parametrize("method", BY_ID)
@pytest.mark.parametrize("job_id", ["abc", "0", "9" * 20, "x" * 5000])
async def test_an_id_that_cannot_exist_is_404(daint: Served, method: str, job_id: str) -> None:
    answer = await daint.ask(method, by_id(method, job_id))
    assert (answer.status, answer.body["message"]) == (404, "Job not found.")
    assert not daint.shell.commands


@pytest.mark.parametrize("method", BY_ID)
@pytest.mark.parametrize(
    "job_id", ["1;id", "8_", "8_[1-2]", "3,10", "8+x", "3.batch", "1\n", "", "-1", "'", "1 2"]
)
async def test_a_malformed_id_is_400(daint: Served, method: str, job_id: str) -> None:
    answer = await daint.ask(method, by_id(method, job_id))
    assert answer.status == 400
    assert answer.body["data"]["fields"] == [
        {
            "location": "path",
            "name": "job_id",
            "message": "String should match pattern '^[a-zA-Z0-9]+$'",
        }
    ]
    assert not daint.shell.commands


async def test_a_job_that_is_not_there(daint: Served) -> None:
    answer = await daint.ask("GetJob", job("999"))
    assert answer.status == 404
    assert answer.body == {
        "errorType": "error",
        "message": "Job not found.",
        "causedBy": None,
        "data": None,
        "user": "alice",
    }


async def test_a_list_with_its_filters(daint: Served) -> None:
    daint.shell.answers["squeue"] = slurm.queue({}, {"JobArrayID": "8", "Name": "other"})
    request = pb.GetJobsRequest(system="daint", account="proj", name="other", time_window="8h")
    answer = await daint.ask("GetJobs", request)
    assert [one_job["jobId"] for one_job in answer.body["jobs"]] == ["8"]
    lines = {slurm.program(c.argv): c.argv for c in daint.shell.commands}
    assert lines["squeue"][-2:] == ("--user=alice", "--account=proj")
    assert lines["sacct"][-3:] == (
        "--user=alice",
        "--accounts=proj",
        "--starttime=now-28800seconds",
    )


async def test_an_empty_filter_is_none(daint: Served) -> None:
    daint.shell.answers["squeue"] = slurm.queue({})
    answer = await daint.ask("GetJobs", pb.GetJobsRequest(system="daint", account="", name=""))
    assert len(answer.body["jobs"]) == 1
    assert all("--account" not in line_of(c) for c in daint.shell.commands)


async def test_no_jobs_are_an_empty_list(daint: Served) -> None:
    daint.shell.answers["squeue"] = NOTHING
    answer = await daint.ask("GetJobs", pb.GetJobsRequest(system="daint"))
    assert (answer.status, answer.body) == (200, {"jobs": []})


@pytest.mark.parametrize("allusers", ["true", "1", "Yes", "on"])
async def test_everybodys_jobs(daint: Served, allusers: str) -> None:
    daint.shell.answers["squeue"] = NOTHING
    await daint.ask("GetJobs", pb.GetJobsRequest(system="daint", allusers=allusers))
    assert all("--user" not in line_of(command) for command in daint.shell.commands)
    assert any("--allusers" in line_of(command) for command in daint.shell.commands)


@pytest.mark.parametrize(
    ("query", "name", "message"),
    [
        ({"time_window": "5y"}, "time_window", "Input should be '1h', '8h', '24h', '3d' or '7d'"),
        ({"allusers": "maybe"}, "allusers", "Input should be a valid boolean, unable to interpret input"),
        ({"name": "x" * 236}, "name", "String should have at most 235 characters"),
        ({"name": "a\nb"}, "name", "must not contain line breaks"),
        ({"account": "a\0b"}, "account", "must not contain NUL characters"),
        ({"account": "x" * 100_000}, "account", "must have at most 1024 characters"),
    ],
)  # fmt: skip
async def test_a_wrong_query(daint: Served, query: dict[str, str], name: str, message: str) -> None:
    answer = await daint.ask("GetJobs", pb.GetJobsRequest(system="daint", **query))
    assert answer.status == 400
    assert answer.body["data"]["fields"] == [
        {"location": "query", "name": name, "message": message}
    ]
    assert not daint.shell.commands


async def test_an_exceeded_limit_is_told_in_firecrests_words(daint: Served) -> None:
    daint.shell.answers["sbatch"] = Output(1, "", "sbatch: error: AssocMaxSubmitJobLimit\n")
    request = {"job": {"workingDirectory": "/home/alice", "script": "#!/bin/sh\n"}}
    answer = await daint.ask("SubmitJob", pb.SubmitJobRequest(system="daint", body=body(request)))
    words = "Job submission rejected: accounting/QOS policy limit exceeded. "
    assert answer.status == 403
    assert answer.body["message"] == f"{words}sbatch: error: AssocMaxSubmitJobLimit"


async def test_cancel_is_204_without_a_body(daint: Served) -> None:
    answer = await daint.ask("CancelJob", job("7"))
    assert (answer.status, answer.body) == (204, None)


@pytest.mark.parametrize(
    ("output", "status", "message"),
    [
        ("Invalid job id specified", 404, "Job not found."),
        (
            "Access/permission denied",
            403,
            "scancel: error: Kill job error on job id 7: Access/permission denied",
        ),
    ],
)
async def test_a_refused_cancel(daint: Served, output: str, status: int, message: str) -> None:
    words = f"scancel: Terminating job 7\nscancel: error: Kill job error on job id 7: {output}\n0\n"
    daint.shell.answers["scancel"] = Output(0, words, "")
    answer = await daint.ask("CancelJob", job("7"))
    assert (answer.status, answer.body["message"]) == (status, message)


async def test_attach_is_204_without_a_body(daint: Served) -> None:
    daint.shell.answers["srun"] = NOTHING
    answer = await daint.ask("AttachJob", by_id("AttachJob", "7"))
    assert (answer.status, answer.body) == (204, None)


@pytest.mark.parametrize(
    "sent", [{}, {"command": ""}, {"command": " "}, {"command": "a\0"}, {"command": 1}]
)
async def test_attach_needs_a_command(daint: Served, sent: Any) -> None:
    request = pb.AttachJobRequest(system="daint", job_id="7", body=body(sent))
    answer = await daint.ask("AttachJob", request)
    assert (answer.status, answer.fields) == (400, [("body", "command")])
    assert not daint.shell.commands


async def test_metadata(daint: Served) -> None:
    shown = "JobId=7 JobName=x\n   StdErr=/e\n   StdIn=/dev/null\n   StdOut=/o\n   Power=\n"
    daint.shell.answers["scontrol"] = Output(0, shown, "")
    answer = await daint.ask("GetJobMetadata", job("7"))
    (one_job,) = answer.body["jobs"]
    assert one_job == {
        "jobId": "7",
        "script": shown,  # the fake's one answer to every scontrol
        "standardInput": "/dev/null",
        "standardOutput": "/o",
        "standardError": "/e",
    }


def node(mark: str, name: str, state: str, partition: str) -> str:
    values = (name, state, "2", "8", "2", "32", "3.02", "23152", "8000", "mc,cpu", "10.0.0.1")
    return (
        "".join(f"{value}{mark}" for value in (*values, "nid1", "1", "4/28/0/32", partition)) + "\n"
    )


async def test_nodes(daint: Served) -> None:
    def answer(mark: str) -> Output:
        parts = (node(mark, "n1", "mixed*", "normal"), node(mark, "n1", "mixed*", "debug"))
        return Output(0, "".join((*parts, node(mark, "n2", "inventing", "normal"))), "")

    daint.shell.answers["sinfo"] = answer
    reported = await daint.ask("GetNodes", pb.SystemRequest(system="daint"))
    first, second = reported.body["nodes"]
    assert first == {
        "sockets": 2,
        "cores": 8,
        "threads": 2,
        "cpus": 32,
        "cpuLoad": 3.02,
        "freeMemory": 23152,
        "features": "mc,cpu",
        "name": "n1",
        "address": "10.0.0.1",
        "hostname": "nid1",
        "state": ["MIXED"],
        "partitions": ["debug", "normal"],
        "weight": 1,
        "allocMemory": 8000,
        "allocCpus": 4,
        "idleCpus": 28,
    }
    assert second["state"] == ["UNKNOWN"]


PARTITIONS = (
    "PartitionName=normal Default=YES Hidden=NO State=UP TotalCPUs=32 TotalNodes=2\n"
    "PartitionName=secret Default=NO Hidden=YES State=DOWN TotalCPUs=16 TotalNodes=1\n"
)


@pytest.mark.parametrize(
    ("show_hidden", "names"),
    [(None, ["normal"]), ("false", ["normal"]), ("1", ["normal", "secret"])],
)
async def test_partitions(daint: Served, show_hidden: str | None, names: list[str]) -> None:
    daint.shell.answers["scontrol"] = Output(0, PARTITIONS, "")
    request = pb.GetPartitionsRequest(system="daint", show_hidden=show_hidden)
    partitions = (await daint.ask("GetPartitions", request)).body["partitions"]
    assert [partition["name"] for partition in partitions] == names
    assert partitions[0] == {"name": "normal", "cpus": 32, "totalNodes": 2, "partition": "UP"}


async def test_a_partition_query_that_is_no_boolean(daint: Served) -> None:
    request = pb.GetPartitionsRequest(system="daint", show_hidden="maybe")
    answer = await daint.ask("GetPartitions", request)
    assert (answer.status, answer.fields) == (400, [("query", "show_hidden")])


async def test_reservations(daint: Served) -> None:
    line = "ReservationName=r StartTime=10 EndTime=20 Nodes=n[1-2] Features=(null) State=ACTIVE"
    daint.shell.answers["scontrol"] = Output(0, f"{line} Comment=State=NO Nodes=forged\n", "")
    answer = await daint.ask("GetReservations", pb.SystemRequest(system="daint"))
    assert answer.body == {
        "reservations": [
            {
                "name": "r",
                "nodeList": "n[1-2]",
                "endTime": 20,
                "startTime": 10,
                "features": None,
                "state": "active",
            }
        ]
    }


async def test_no_reservations(daint: Served) -> None:
    daint.shell.answers["scontrol"] = Output(0, "No reservations in the system\n", "")
    answer = await daint.ask("GetReservations", pb.SystemRequest(system="daint"))
    assert answer.body == {"reservations": []}


async def test_userinfo_of_both_levels(daint: Served) -> None:
    identity = (
        "passerelle-user 1001 1002 1002 1001\nalice\nalice:x:1002:\nresearch:x:1001:bob\n"
        "passerelle-accounts\n"
    )
    daint.shell.answers |= {"id": Output(1, identity, ""), "sacctmgr": Output(0, "p|p\n", "")}
    answer = await daint.ask("GetUserInfo", pb.SystemRequest(system="daint"))
    assert answer.body == {
        "user": {"id": "1001", "name": "alice"},
        "group": {"id": "1002", "name": "alice"},
        "groups": [
            {"id": "1002", "name": "alice", "default": True},
            {"id": "1001", "name": "research", "default": False},
        ],
        "accounts": [{"name": "p", "default": True}],
    }


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", 503),
        ("env: 'squeue': No such file or directory", 500),
    ],
)
async def test_trouble_behind(daint: Served, words: str, status: int) -> None:
    daint.shell.answers["squeue"] = Output(1, "", words)
    answer = await daint.ask("GetJobs", pb.GetJobsRequest(system="daint"))
    assert (answer.status, answer.body["message"]) == (status, words)


async def test_one_sees_ones_own_submission_at_once() -> None:
    shell = ScriptedShell(squeue=NOTHING, sacct=NOTHING, sbatch=Output(0, "7\n", ""))
    async with served(shell, cache_seconds=1000) as daint:
        request = pb.GetJobsRequest(system="daint")
        assert (await daint.ask("GetJobs", request)).body["jobs"] == []
        shell.answers["squeue"] = slurm.queue({})
        assert (await daint.ask("GetJobs", request)).body["jobs"] == []
        await daint.ask("SubmitJob", submission(JOB), user="bob")
        assert (await daint.ask("GetJobs", request)).body["jobs"] == []
        await daint.ask("SubmitJob", submission(JOB))
        assert len((await daint.ask("GetJobs", request)).body["jobs"]) == 1


async def test_many_who_ask_the_same_cost_one_question() -> None:
    shell = ScriptedShell(squeue=slurm.queue({}))
    async with served(shell, cache_seconds=1000) as daint:
        answers = await asyncio.gather(*(daint.ask("GetJob", job("7")) for _ in range(50)))
    assert {answer.status for answer in answers} == {200}
    assert shell.programs == ["squeue", "steps"]


async def test_a_list_of_many_jobs_is_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = []

    def render(value: Any) -> HttpBody:
        rendered.append(len(value["jobs"]))
        return json_reply(value)

    monkeypatch.setattr("passerelle.compute.firecrest.compute_service.json_reply", render)
    ids = [str(number) for number in range(1, 2001)]
    shell = ScriptedShell(
        squeue=slurm.queue(*({"JobArrayID": job_id} for job_id in ids)), sacct=NOTHING
    )
    async with served(shell, cache_seconds=1000) as daint:
        request = pb.GetJobsRequest(system="daint")
        answers = await asyncio.gather(*(daint.ask("GetJobs", request) for _ in range(3)))
    for answer in answers:
        assert [job["jobId"] for job in answer.body["jobs"]] == ids
    assert rendered == [len(ids)]


async def test_a_reply_takes_no_memory_when_it_is_no_longer_shared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("passerelle.compute.firecrest.compute_service._KEPT_SECONDS", 0.05)
    shell = ScriptedShell(squeue=slurm.queue({"Name": "short-lived"}), sacct=NOTHING)
    async with served(shell) as daint:
        await daint.ask("GetJobs", pb.GetJobsRequest(system="daint"))
        await asyncio.sleep(0.2)
        gc.collect()
        jobs = [one for one in gc.get_objects() if isinstance(one, Job)]
        assert "short-lived" not in {one.name for one in jobs}


async def test_lists_of_different_users_are_not_mixed_up() -> None:
    shell = ScriptedShell(sacct=NOTHING, squeue=slurm.queue({"JobArrayID": "1"}))
    async with served(shell, cache_seconds=1000) as daint:
        request = pb.GetJobsRequest(system="daint")
        mine = await daint.ask("GetJobs", request)
        shell.answers["squeue"] = slurm.queue({"JobArrayID": "2"})
        assert await daint.ask("GetJobs", request) == mine
        bobs = await daint.ask("GetJobs", request, user="bob")
        assert [job["jobId"] for job in (*mine.body["jobs"], *bobs.body["jobs"])] == ["1", "2"]


async def test_no_nodes_are_no_jobs(daint: Served) -> None:
    daint.shell.answers |= {"squeue": NOTHING, "sinfo": NOTHING}
    for _ in range(2):
        assert (await daint.ask("GetJobs", pb.GetJobsRequest(system="daint"))).body == {"jobs": []}
        assert (await daint.ask("GetNodes", pb.SystemRequest(system="daint"))).body == {"nodes": []}

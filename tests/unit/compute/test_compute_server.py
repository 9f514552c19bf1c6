"""The native API of compute, over a real gRPC channel."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from passerelle.runtime.command import Output
from passerelle.v1 import compute_pb2 as pb
from tests.unit.compute import scripted_shell as slurm
from tests.unit.compute.scripted_shell import NOTHING, ScriptedShell
from tests.unit.compute.served import Served, metadata, served

SCRIPT = "#!/bin/bash\ntrue\n"


@pytest.fixture
async def daint() -> AsyncIterator[Served]:
    shell = ScriptedShell(sacct=NOTHING, sbatch=Output(0, "77\n", ""), scancel=Output(0, "0\n", ""))
    async with served(shell) as daint:
        yield daint


async def ask(daint: Served, method: str, request: Any) -> Any:
    return await getattr(daint.native, method)(request, metadata=metadata())


async def refused(daint: Served, method: str, request: Any) -> tuple[str, str, list[str]]:
    """The code, the message and the wrong fields of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(daint, method, request)
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
    assert status is not None
    bad = error_details_pb2.BadRequest()
    fields = [v.field for d in status.details if d.Unpack(bad) for v in bad.field_violations]
    return caught.value.code().name, status.message, fields


def submission(**fields: Any) -> pb.SubmitJobRequest:
    described = {"working_directory": "/home/alice", "script": SCRIPT, **fields}
    return pb.SubmitJobRequest(system="daint", job=pb.JobDescription(**described))


async def test_a_job_is_submitted(daint: Served) -> None:
    request = submission(name="n", environment={"A": "1"}, time_limit=Duration(seconds=61))
    assert await ask(daint, "SubmitJob", request) == pb.Job(
        job_id="77",
        name="n",
        user="alice",
        working_directory="/home/alice",
        time_limit=Duration(seconds=61),
    )
    assert daint.shell.programs == ["sbatch", "scontrol"]
    command = daint.shell.commands[-1]
    assert command.argv[4:] == (
        *(
            "--parsable",
            "--chdir=/home/alice",
            "--job-name=n",
            "--time=2",
            "--export-file=/dev/fd/3",
        ),
    )
    assert command.stdin == f"=SLURM_JOB_NAME=n\n=A=1\n.\n{SCRIPT}"


async def test_without_variables_the_script_decides_what_is_exported(daint: Served) -> None:
    await ask(daint, "SubmitJob", submission())
    assert not any("--export" in word for word in daint.shell.commands[0].argv[3:])


@pytest.mark.parametrize(
    ("invalid", "field"),
    [
        ({"script": ""}, "job.script"),
        ({"working_directory": ""}, "job.working_directory"),
        ({"working_directory": "home"}, "job.working_directory"),
        ({"script_path": "x.sh"}, "job.script_path"),
        ({"name": "a\nb"}, "job.name"),
        ({"standard_error": "x" * 5000}, "job.standard_error"),
        ({"environment": {"A=B": ""}}, "job.environment"),
        ({"time_limit": Duration(seconds=0)}, "job.time_limit"),
        ({"time_limit": Duration(seconds=-1)}, "job.time_limit"),
        ({"time_limit": Duration(seconds=10**11)}, "job.time_limit"),
    ],
)
async def test_a_wrong_job_is_refused_naming_the_field(
    daint: Served, invalid: dict[str, Any], field: str
) -> None:
    code, message, fields = await refused(daint, "SubmitJob", submission(**invalid))
    assert (code, fields) == ("INVALID_ARGUMENT", [field])
    assert field in message
    assert not daint.shell.commands


async def test_a_job(daint: Served) -> None:
    daint.shell.answers |= {"squeue": slurm.queue({}), "steps": slurm.steps({})}
    reply = await ask(daint, "GetJob", pb.GetJobRequest(system="daint", job_id="7"))
    (job,) = reply.jobs
    assert job == pb.Job(
        job_id="7",
        name="job",
        state=pb.Job.RUNNING,
        scheduler_state="RUNNING",
        state_reason="None",
        account="proj",
        user="alice",
        group="users",
        partition="normal",
        node_list="cn01",
        node_count=1,
        working_directory="/home/alice",
        priority=1000,
        start_time=Timestamp(seconds=1000),
        elapsed=Duration(seconds=65),
        time_limit=Duration(seconds=3600),
        steps=[
            pb.Job.Step(
                step_id="7.batch",
                name="batch",
                state=pb.Job.RUNNING,
                start_time=Timestamp(seconds=1000),
            )
        ],
    )


async def test_an_ended_job_has_its_exit_code(daint: Served) -> None:
    daint.shell.answers["sacct"] = slurm.history({"State": "FAILED", "ExitCode": "0:15"})
    reply = await ask(daint, "GetJob", pb.GetJobRequest(system="daint", job_id="7"))
    (job,) = reply.jobs
    assert (job.state, job.exit_code, job.signal) == (pb.Job.FAILED, 0, 15)
    assert job.HasField("exit_code")


@pytest.mark.parametrize("method", ["GetJob", "GetJobMetadata", "CancelJob", "AttachJob"])
async def test_no_such_job(daint: Served, method: str) -> None:
    name = f"{method}Request"
    request = getattr(pb, name)(system="daint", job_id="1;id")
    if method == "AttachJob":
        request.command = "true"
    code, message, _ = await refused(daint, method, request)
    assert (code, message) == ("NOT_FOUND", "Job not found.")


async def test_a_list_is_of_ones_own_jobs_of_a_day(daint: Served) -> None:
    daint.shell.answers["squeue"] = slurm.queue({})
    reply = await ask(daint, "ListJobs", pb.ListJobsRequest(system="daint"))
    assert [job.job_id for job in reply.jobs] == ["7"]
    (sacct,) = (c for c in daint.shell.commands if slurm.program(c.argv) == "sacct")
    assert sacct.argv[-2:] == ("--user=alice", "--starttime=now-86400seconds")


async def test_lists_have_pages(daint: Served) -> None:
    lines = "".join(f"PartitionName=p{i} Hidden=NO State=UP\n" for i in range(3))
    daint.shell.answers["scontrol"] = Output(0, lines, "")
    request = pb.ListPartitionsRequest(system="daint", page_size=2)
    first = await ask(daint, "ListPartitions", request)
    request.page_token = first.next_page_token
    second = await ask(daint, "ListPartitions", request)
    names = [[partition.name for partition in reply.partitions] for reply in (first, second)]
    assert names == [["p0", "p1"], ["p2"]]
    assert second.next_page_token == ""
    request.show_hidden = True
    code, _, fields = await refused(daint, "ListPartitions", request)
    assert (code, fields) == ("INVALID_ARGUMENT", ["page_token"])


@pytest.mark.parametrize("method", ["ListJobs", "ListNodes", "ListPartitions", "ListReservations"])
async def test_a_negative_page_is_refused(daint: Served, method: str) -> None:
    lines = "PartitionName=a State=UP\nReservationName=r StartTime=1 EndTime=2\n"
    daint.shell.answers |= {"scontrol": Output(0, lines, ""), "squeue": slurm.queue({})}
    daint.shell.answers["sinfo"] = Output(0, "", "")
    request = getattr(pb, f"{method}Request")(system="daint", page_size=-1)
    code, _, fields = await refused(daint, method, request)
    assert (code, fields) == ("INVALID_ARGUMENT", ["page_size"])


@pytest.mark.parametrize(
    ("invalid", "field"),
    [
        ({"window": Duration(seconds=0)}, "window"),
        ({"window": Duration(seconds=31 * 86400)}, "window"),
        ({"account": "a\0"}, "account"),
        ({"job_name": "x" * 236}, "job_name"),
    ],
)
async def test_a_wrong_list(daint: Served, invalid: dict[str, Any], field: str) -> None:
    request = pb.ListJobsRequest(system="daint", **invalid)
    code, _, fields = await refused(daint, "ListJobs", request)
    assert (code, fields) == ("INVALID_ARGUMENT", [field])


async def test_metadata_leaves_out_what_is_not_known(daint: Served) -> None:
    reported = f"Batch Script for 7\n{'-' * 80}\nNONE\n"
    unknown = Output(1, "", "slurm_load_jobs error: Invalid job id specified\n")
    record = ("7", "7", "job", "alice", "cn01", "/h", "", "", "")
    daint.shell.answers |= {
        "scontrol": unknown,
        "sacct": lambda mark: (
            Output(0, "".join(f"{one}{mark}" for one in record), "")
            if mark
            else Output(0, reported, "")
        ),
    }
    request = pb.GetJobMetadataRequest(system="daint", job_id="7")
    assert await ask(daint, "GetJobMetadata", request) == pb.JobMetadata(job_id="7")


async def test_what_slurm_refuses_names_the_field(daint: Served) -> None:
    words = "sbatch: error: Batch job submission failed: Invalid feature specification"
    daint.shell.answers["sbatch"] = Output(1, "", f"{words}\n")
    code, message, fields = await refused(daint, "SubmitJob", submission(constraints="x"))
    assert (code, message, fields) == ("INVALID_ARGUMENT", words, ["job.constraints"])


async def test_attach_needs_a_command(daint: Served) -> None:
    request = pb.AttachJobRequest(system="daint", job_id="7")
    code, _, fields = await refused(daint, "AttachJob", request)
    assert (code, fields) == ("INVALID_ARGUMENT", ["command"])


async def test_a_command_that_fails_in_a_job(daint: Served) -> None:
    daint.shell.answers["srun"] = Output(
        3, "", "srun: error: n1: task 0: Exited with exit code 3\n"
    )
    request = pb.AttachJobRequest(system="daint", job_id="7", command="exit 3")
    code, message, _ = await refused(daint, "AttachJob", request)
    assert (code, message) == (
        "FAILED_PRECONDITION",
        "srun: error: n1: task 0: Exited with exit code 3",
    )


async def test_hidden_partitions_are_shown_when_asked_for(daint: Served) -> None:
    lines = "PartitionName=a Hidden=NO State=UP\nPartitionName=b Hidden=YES State=UP\n"
    daint.shell.answers["scontrol"] = Output(0, lines, "")
    for hidden, names in ((False, ["a"]), (True, ["a", "b"])):
        request = pb.ListPartitionsRequest(system="daint", show_hidden=hidden)
        reply = await ask(daint, "ListPartitions", request)
        assert [partition.name for partition in reply.partitions] == names


async def test_reservations(daint: Served) -> None:
    line = "ReservationName=r StartTime=10 EndTime=20 Nodes=n1 Features=gpu State=INACTIVE\n"
    daint.shell.answers["scontrol"] = Output(0, line, "")
    reply = await ask(daint, "ListReservations", pb.ListReservationsRequest(system="daint"))
    assert list(reply.reservations) == [
        pb.Reservation(
            name="r",
            node_list="n1",
            start_time=Timestamp(seconds=10),
            end_time=Timestamp(seconds=20),
            feature_list="gpu",
            state="inactive",
        )
    ]


async def test_userinfo(daint: Served) -> None:
    identity = "passerelle-user 1 2 2\na\nb:x:2:\npasserelle-accounts\n"
    association = "ClusterName=lab Account=p UserName=a(1) Partition= Lft=4 DefAssoc=Yes GrpJobs=\n"
    daint.shell.answers["id"] = Output(0, identity + association, "")
    reply = await ask(daint, "GetUserInfo", pb.GetUserInfoRequest(system="daint"))
    assert (reply.user.id, reply.group.name) == ("1", "b")
    assert [(account.name, account.is_default) for account in reply.accounts] == [("p", True)]


async def test_ping_is_asked_anew_each_time(daint: Served) -> None:
    daint.shell.answers["scontrol"] = Output(0, "Slurmctld(primary) at n0 is UP\n", "")
    request = pb.PingSchedulerRequest(system="daint")
    assert (await ask(daint, "PingScheduler", request)).message == "Slurmctld(primary) at n0 is UP"
    daint.shell.answers["scontrol"] = Output(1, "Slurmctld(primary) at n0 is DOWN\n", "")
    code, message, _ = await refused(daint, "PingScheduler", request)
    assert (code, message) == ("UNAVAILABLE", "Slurmctld(primary) at n0 is DOWN")


async def test_an_unknown_system(daint: Served) -> None:
    code, message, _ = await refused(daint, "ListNodes", pb.ListNodesRequest(system="nosuch"))
    assert (code, message) == ("NOT_FOUND", "System not found")

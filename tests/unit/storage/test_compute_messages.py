"""Submitting through the compute service's native API, over a real gRPC channel."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from passerelle.runtime import caller
from passerelle.runtime.caller import Caller
from passerelle.runtime.config.site import site_model
from passerelle.runtime.errors import (
    ApiError,
    BackendUnavailable,
    DeadlineExceeded,
    InvalidArgument,
)
from passerelle.storage.jobs.compute_client import ComputeJobs, compute_jobs
from passerelle.storage.jobs.port import BatchJob
from passerelle.v1 import compute_pb2 as pb
from passerelle.v1 import compute_pb2_grpc as pb_grpc

JOB = BatchJob("MoveFiles", "#!/bin/bash\n", "/w", "/w/out", "/w/err")


class Compute(pb_grpc.ComputeServiceServicer):
    """Answers as told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[tuple[pb.SubmitJobRequest, dict[str, Any]]] = []
        self.error: ApiError | None = None
        self.hang = False
        self.listed: list[pb.ListJobsRequest] = []
        self.jobs: list[pb.Job] = []
        self.page = 100_000

    async def SubmitJob(self, request: pb.SubmitJobRequest, context: Any) -> pb.Job:
        self.requests.append((request, dict(context.invocation_metadata())))
        if self.error:
            await context.abort_with_status(self.error.status())
        if self.hang:
            await asyncio.sleep(60)
        return pb.Job(job_id="77")

    async def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:
        self.listed.append(request)
        start = int(request.page_token or 0)
        end = start + self.page
        token = str(end) if end < len(self.jobs) else ""
        return pb.ListJobsResponse(jobs=self.jobs[start:end], next_page_token=token)


@pytest.fixture
def compute() -> Compute:
    return Compute()  # type: ignore[abstract]  # it is asked for one method only


@pytest.fixture
async def jobs(compute: Compute) -> AsyncIterator[ComputeJobs]:
    server = grpc.aio.server()
    pb_grpc.add_ComputeServiceServicer_to_server(compute, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    services = f"{{request_timeout: 1, compute: {{address: '{address}'}}}}"
    async with compute_jobs(site_model().parse(f"services: {services}")) as jobs:
        yield jobs
    await server.stop(None)


def as_alice() -> Any:
    return caller.bind(Caller("alice", "alices-token"))


async def test_it_submits_with_the_callers_own_token(jobs: ComputeJobs, compute: Compute) -> None:
    caller.begin_request("r-1")
    with as_alice():
        assert await jobs.submit("lab", JOB) == "77"
    [(request, metadata)] = compute.requests
    assert request == pb.SubmitJobRequest(
        system="lab",
        job=pb.JobDescription(
            name="MoveFiles",
            script="#!/bin/bash\n",
            working_directory="/w",
            standard_input="/dev/null",
            standard_output="/w/out",
            standard_error="/w/err",
        ),
    )
    assert metadata["authorization"] == "Bearer alices-token"
    assert metadata["x-request-id"] == "r-1"


async def test_what_compute_answers_is_raised_again(jobs: ComputeJobs, compute: Compute) -> None:
    compute.error = InvalidArgument("Invalid account")
    with as_alice(), pytest.raises(InvalidArgument, match=r"^Invalid account$"):
        await jobs.submit("lab", JOB)


@pytest.mark.parametrize("error", [BackendUnavailable("Slurm is down."), None])
async def test_it_asks_only_once(
    jobs: ComputeJobs, compute: Compute, error: ApiError | None
) -> None:
    compute.error, compute.hang = error, error is None
    expected = BackendUnavailable if error else DeadlineExceeded
    with as_alice(), pytest.raises(expected):
        await jobs.submit("lab", JOB)
    assert len(compute.requests) == 1


@pytest.mark.parametrize("services", ["{compute: {address: '127.0.0.1:1'}}", "{}"])
async def test_without_a_compute_service(services: str) -> None:
    async with compute_jobs(site_model().parse(f"services: {services}")) as jobs:
        with as_alice(), pytest.raises(BackendUnavailable, match="compute service"):
            await jobs.submit("lab", JOB)


async def test_jobs_that_come_in_pages_are_all_read(jobs: ComputeJobs, compute: Compute) -> None:
    compute.page = 2
    compute.jobs = [pb.Job(job_id=str(n), state=pb.Job.SUCCEEDED) for n in range(5)]
    with as_alice():
        assert await jobs.ends("lab") == dict.fromkeys("01234", True)


async def test_what_became_of_the_callers_jobs_is_one_question(
    jobs: ComputeJobs, compute: Compute
) -> None:
    alive = (pb.Job.STATE_UNSPECIFIED, pb.Job.PENDING, pb.Job.RUNNING, pb.Job.SUSPENDED)
    ended = (pb.Job.FAILED, pb.Job.CANCELLED, pb.Job.TIMEOUT)
    many = [pb.Job(job_id=f"1_{task}", name="x" * 100) for task in range(50_000)]
    states = (*alive, pb.Job.SUCCEEDED, *ended)
    compute.jobs = [*many, *(pb.Job(job_id=str(n), state=s) for n, s in enumerate(states))]
    with as_alice():
        ends = await jobs.ends("lab")
    assert [ends[str(number)] for number in range(len(states))] == [None] * 4 + [True] + [False] * 3
    assert len(ends) == len(many) + len(states)
    [request] = compute.listed
    assert (request.system, request.all_users, request.window.seconds) == ("lab", False, 3600)

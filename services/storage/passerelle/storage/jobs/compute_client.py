"""The compute service as storage uses it: submits, follows and cancels jobs in the caller's name."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from passerelle.runtime import caller
from passerelle.runtime.config.site import SiteBase
from passerelle.runtime.errors import BackendUnavailable, Unsupported, from_rpc
from passerelle.runtime.headers import REQUEST_ID
from passerelle.runtime.serving.channels import CALLERS_WORKER, channel, of_caller
from passerelle.storage.jobs.port import BatchJob
from passerelle.v1 import compute_pb2 as pb
from passerelle.v1 import compute_pb2_grpc as pb_grpc

_LATELY = 3600  # seconds since a job ended
_LARGEST = 64 << 20  # bytes of an answer: a user may have tens of thousands of jobs
_ALIVE = (pb.Job.STATE_UNSPECIFIED, pb.Job.PENDING, pb.Job.RUNNING, pb.Job.SUSPENDED)


class ComputeJobs:
    """Submits jobs over a channel; None stands for a site without a compute service. `timeout` is in seconds."""

    def __init__(self, channel: grpc.aio.Channel | None, timeout: float) -> None:
        self._stub: pb_grpc.ComputeServiceAsyncStub | None = (
            pb_grpc.ComputeServiceStub(channel) if channel else None
        )
        self._timeout = timeout

    async def submit(self, system: str, job: BatchJob) -> str:
        """Submit the job with the caller's own token, once; returns its id.

        Raises compute's error; BackendUnavailable or DeadlineExceeded when compute does not answer.
        """
        request = pb.SubmitJobRequest(system=system, job=_description(job))
        reply = await self._call(lambda stub: stub.SubmitJob, request)
        return str(reply.job_id)

    async def default_account(self, system: str) -> str | None:
        """The caller's default account, which compute caches briefly; None without one. Raises as `submit`."""
        request = pb.GetUserInfoRequest(system=system)
        try:
            reply = await self._call(lambda stub: stub.GetUserInfo, request)
        except Unsupported:  # a scheduler without accounts
            return None
        return next((account.name for account in reply.accounts if account.is_default), None)

    async def succeeded(self, system: str, job_id: str) -> bool | None:
        """Whether a job succeeded; None while it has not ended. Raises as `submit`."""
        request = pb.GetJobRequest(system=system, job_id=job_id)
        reply = await self._call(lambda stub: stub.GetJob, request)
        return _end(reply.jobs[-1])

    async def ends(self, system: str) -> Mapping[str, bool | None]:
        """By id, whether each job of the caller that ended in the last hour succeeded; None for unfinished jobs.

        Raises as `submit`.
        """
        request = pb.ListJobsRequest(system=system, window=Duration(seconds=_LATELY))
        ends: dict[str, bool | None] = {}
        while True:
            reply = await self._call(lambda stub: stub.ListJobs, request)
            ends |= {job.job_id: _end(job) for job in reply.jobs}
            if not reply.next_page_token:
                return ends
            request.page_token = reply.next_page_token

    async def cancel(self, system: str, job_id: str) -> None:
        """End a job; raises as `submit`."""
        request = pb.CancelJobRequest(system=system, job_id=job_id)
        await self._call(lambda stub: stub.CancelJob, request)

    async def _call(
        self, method: "Callable[[pb_grpc.ComputeServiceAsyncStub], Any]", request: Message
    ) -> Any:
        if self._stub is None:
            raise BackendUnavailable("This site has no compute service, which transfer jobs need.")
        metadata = (
            ("authorization", f"Bearer {caller.current().token}"),
            (REQUEST_ID, caller.request_id()),
            *of_caller(),
        )
        try:
            return await method(self._stub)(request, metadata=metadata, timeout=self._timeout)
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, "compute") from None


def _end(job: pb.Job) -> bool | None:
    return None if job.state in _ALIVE else bool(job.state == pb.Job.SUCCEEDED)


def _description(job: BatchJob) -> pb.JobDescription:
    return pb.JobDescription(
        name=job.name,
        script=job.script,
        working_directory=job.working_directory,
        standard_input="/dev/null",
        standard_output=job.standard_output,
        standard_error=job.standard_error,
    )


@asynccontextmanager
async def compute_jobs(site: SiteBase) -> AsyncIterator[ComputeJobs]:
    """A ComputeJobs for the site's compute service, closed on leaving."""
    timeout = site.services.request_timeout
    if site.services.compute is None:
        yield ComputeJobs(None, timeout)
        return
    # No retries: a job must not be submitted twice.
    options = (("grpc.max_receive_message_length", _LARGEST),)
    compute = site.services.endpoint("compute")
    async with channel(compute, CALLERS_WORKER, options=options) as to_compute:
        yield ComputeJobs(to_compute, timeout)

"""The native API's ComputeService: converts, calls the scheduler, converts."""

from typing import Any

from google.protobuf.duration_pb2 import Duration

from passerelle.compute import limits
from passerelle.compute.native.messages import (
    job_message,
    metadata_message,
    node_message,
    partition_message,
    reservation_message,
    submitted_message,
    user_message,
)
from passerelle.compute.scheduler import JobDescription, JobFilter, Scheduler, optional_texts
from passerelle.compute.systems import Schedulers, scheduler_of
from passerelle.runtime import caller, log_fields
from passerelle.runtime.computation import computed
from passerelle.runtime.errors import Field, InvalidArgument
from passerelle.runtime.paging import page_of
from passerelle.v1 import compute_pb2 as pb
from passerelle.v1 import compute_pb2_grpc as pb_grpc

_DAY = 24 * 3600
_MAX_WINDOW = 30 * _DAY


class ComputeService(pb_grpc.ComputeServiceServicer):
    """Jobs, nodes and queues of the systems. Errors are those of the Scheduler port; the interceptors send them."""

    def __init__(self, schedulers: Schedulers) -> None:
        self._schedulers = schedulers

    async def SubmitJob(self, request: pb.SubmitJobRequest, context: Any) -> pb.Job:
        """Submit a batch job."""
        scheduler = self._scheduler(request)
        description = _description(request.job)
        job_id = await scheduler.submit(description)
        log_fields.bind(job_id=job_id)
        return submitted_message(job_id, caller.current().username, description)

    async def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:
        """List jobs."""
        scheduler = self._scheduler(request)
        jobs = await scheduler.jobs(_filter(request))
        page, token = page_of(request, jobs, lambda job: job.id)
        return await computed(
            lambda: pb.ListJobsResponse(jobs=map(job_message, page), next_page_token=token),
            len(page),
        )

    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> pb.GetJobResponse:
        """Return one job, with all tasks of an array."""
        jobs = await self._scheduler(request).job(request.job_id)
        return pb.GetJobResponse(jobs=[job_message(job) for job in jobs])

    async def GetJobMetadata(
        self, request: pb.GetJobMetadataRequest, context: Any
    ) -> pb.JobMetadata:
        """Return a job's script and standard streams."""
        return metadata_message(await self._scheduler(request).metadata(request.job_id))

    async def AttachJob(self, request: pb.AttachJobRequest, context: Any) -> pb.AttachJobResponse:
        """Run a command in a running job."""
        scheduler = self._scheduler(request)
        limits.check_command(request.command)
        await scheduler.attach(request.job_id, request.command)
        return pb.AttachJobResponse()

    async def CancelJob(self, request: pb.CancelJobRequest, context: Any) -> pb.CancelJobResponse:
        """Cancel a job."""
        await self._scheduler(request).cancel(request.job_id)
        return pb.CancelJobResponse()

    async def ListNodes(self, request: pb.ListNodesRequest, context: Any) -> pb.ListNodesResponse:
        """List the compute nodes."""
        page, token = page_of(request, await self._scheduler(request).nodes(), lambda one: one.name)
        return pb.ListNodesResponse(nodes=map(node_message, page), next_page_token=token)

    async def ListPartitions(
        self, request: pb.ListPartitionsRequest, context: Any
    ) -> pb.ListPartitionsResponse:
        """List the partitions."""
        partitions = await self._scheduler(request).partitions()
        shown = [
            partition for partition in partitions if request.show_hidden or not partition.hidden
        ]
        page, token = page_of(request, shown, lambda one: one.name)
        return pb.ListPartitionsResponse(
            partitions=map(partition_message, page), next_page_token=token
        )

    async def ListReservations(
        self, request: pb.ListReservationsRequest, context: Any
    ) -> pb.ListReservationsResponse:
        """List the reservations."""
        page, token = page_of(
            request, await self._scheduler(request).reservations(), lambda one: one.name
        )
        return pb.ListReservationsResponse(
            reservations=map(reservation_message, page), next_page_token=token
        )

    async def GetUserInfo(self, request: pb.GetUserInfoRequest, context: Any) -> pb.UserInfo:
        """Return the caller's account on the system."""
        return user_message(await self._scheduler(request).user_info())

    async def PingScheduler(
        self, request: pb.PingSchedulerRequest, context: Any
    ) -> pb.PingSchedulerResponse:
        """Ask the scheduler whether it works."""
        return pb.PingSchedulerResponse(message=await self._scheduler(request).ping())

    def _scheduler(self, request: Any) -> Scheduler:
        return scheduler_of(self._schedulers, request.system)


def _description(job: pb.JobDescription) -> JobDescription:
    """The job to submit; InvalidArgument names the fields that are wrong."""
    limited = job.HasField("time_limit")
    description = JobDescription(
        working_directory=job.working_directory,
        **optional_texts(job),
        environment=dict(job.environment),
        time_limit=_seconds(job.time_limit) if limited else None,
        script=job.script if job.HasField("script") else None,
        script_path=job.script_path if job.HasField("script_path") else None,
    )
    violations = [*limits.violations(description)]
    for name in ("working_directory", "script_path"):
        if (getattr(description, name) or "/")[0] != "/":
            violations.append((name, "must be an absolute path"))
    _refuse([Field("body", f"job.{name}", message) for name, message in violations])
    return description


def _filter(request: pb.ListJobsRequest) -> JobFilter:
    window = _seconds(request.window) if request.HasField("window") else _DAY
    texts = (("account", limits.MAX_WORD), ("job_name", limits.MAX_NAME))
    violations = [
        (name, message)
        for name, longest in texts
        for message in limits.word_faults(getattr(request, name), longest)
    ]
    if not 0 < window <= _MAX_WINDOW:
        violations.append(("window", f"must be more than 0 and at most {_MAX_WINDOW} s"))
    _refuse([Field("query", name, message) for name, message in violations])
    return JobFilter(
        user=None if request.all_users else caller.current().username,
        account=request.account or None,
        name=request.job_name or None,
        window=window,
    )


def _seconds(duration: Duration) -> int:
    """Whole seconds, rounded up."""
    return duration.seconds + (1 if duration.nanos > 0 else 0)


def _refuse(fields: list[Field]) -> None:
    if fields:
        detail = "; ".join(f"{field.name}: {field.message}" for field in fields)
        raise InvalidArgument(detail, tuple(fields))

"""FirecREST v2's `/compute` and the part of `/status` that schedulers answer: other names for the same operations.

The shapes are those of the FirecREST v2 contract; docs/firecrest-profile.md tells where we differ on purpose. As there,
the system is looked up before anything else of a request is checked.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from cachetools import LRUCache
from google.api.httpbody_pb2 import HttpBody

from passerelle.compute import limits
from passerelle.compute.firecrest.bodies import (
    AttachBody,
    JobPath,
    JobsQuery,
    PartitionsQuery,
    SubmitBody,
)
from passerelle.compute.firecrest.replies import (
    JobsMetadataReply,
    JobsReply,
    NodesReply,
    PartitionsReply,
    ReservationsReply,
    SubmittedReply,
    UserReply,
    jobs_reply,
    metadata_reply,
    nodes_reply,
    partition_reply,
    reservation_reply,
    user_reply,
)
from passerelle.compute.scheduler import Scheduler
from passerelle.compute.systems import Schedulers, scheduler_of
from passerelle.firecrest.v2 import compute_pb2 as pb
from passerelle.firecrest.v2 import compute_pb2_grpc as pb_grpc
from passerelle.runtime import log_fields
from passerelle.runtime.computation import computed
from passerelle.runtime.flight import Flights
from passerelle.runtime.surface import Operation
from passerelle.surfaces.firecrest.bodies import read_body, read_query, validate
from passerelle.surfaces.firecrest.replies import json_reply, set_status

T = TypeVar("T")

_MOST_REPLIES = 32
_KEPT_SECONDS = 1.0

OPENAPI: Mapping[str, Operation] = {
    "SubmitJob": Operation(body=SubmitBody, replies={201: SubmittedReply}),
    "GetJobs": Operation(query=JobsQuery, replies={200: JobsReply}),
    "GetJob": Operation(replies={200: JobsReply}),
    "GetJobMetadata": Operation(replies={200: JobsMetadataReply}),
    "AttachJob": Operation(body=AttachBody, replies={204: None}),
    "CancelJob": Operation(replies={204: None}),
    "GetNodes": Operation(replies={200: NodesReply}),
    "GetReservations": Operation(replies={200: ReservationsReply}),
    "GetPartitions": Operation(query=PartitionsQuery, replies={200: PartitionsReply}),
    "GetUserInfo": Operation(replies={200: UserReply}),
}


class _Rendered:
    """Replies, made once for each answer: one that calls share is the same object for all of them.

    Making the JSON of a hundred jobs takes longer than all else that a shared answer costs. A reply is kept for a
    second, the time for which answers are shared unless a site says otherwise: one about 50 000 jobs takes 20 MiB.
    """

    def __init__(self) -> None:
        self._replies: LRUCache[int, tuple[object, HttpBody]] = LRUCache(_MOST_REPLIES)
        self._making = Flights()

    async def reply(self, answer: Sequence[T], value: Callable[[Sequence[T]], Any]) -> HttpBody:
        key = id(answer)  # of nothing else while the answer is kept
        if kept := self._replies.get(key):
            return kept[1]
        return await self._making.run(key, lambda: self._made(key, answer, value))

    async def _made(
        self, key: int, answer: Sequence[T], value: Callable[[Sequence[T]], Any]
    ) -> HttpBody:
        reply = await computed(lambda: json_reply(value(answer)), len(answer))
        self._replies[key] = answer, reply
        asyncio.get_running_loop().call_later(_KEPT_SECONDS, self._replies.pop, key, None)
        return reply


class ComputeProfile(pb_grpc.ComputeServiceServicer):
    """The profile's ComputeService."""

    def __init__(self, schedulers: Schedulers) -> None:
        self._schedulers = schedulers
        self._job_lists = _Rendered()
        self._jobs = _Rendered()
        self._nodes = _Rendered()

    async def SubmitJob(self, request: pb.SubmitJobRequest, context: Any) -> HttpBody:
        """Submit a job: 201."""
        scheduler = scheduler_of(self._schedulers, request.system)
        body = read_body(SubmitBody, request.body)
        job_id = await scheduler.submit(body.job.described())
        log_fields.bind(job_id=job_id)
        reply: SubmittedReply = {"jobId": job_id}
        await _answer(context, 201)
        return json_reply(reply)

    async def GetJobs(self, request: pb.GetJobsRequest, context: Any) -> HttpBody:
        """List jobs."""
        scheduler = scheduler_of(self._schedulers, request.system)
        jobs = await scheduler.jobs(read_query(JobsQuery, request).wanted())
        return await self._job_lists.reply(jobs, jobs_reply)

    async def GetJob(self, request: pb.JobRequest, context: Any) -> HttpBody:
        """Return one job, with all tasks of an array."""
        scheduler, job_id = self._job(request)
        jobs = await scheduler.job(job_id)
        return await self._jobs.reply(jobs, jobs_reply)

    async def GetJobMetadata(self, request: pb.JobRequest, context: Any) -> HttpBody:
        """Return a job's script and standard streams."""
        scheduler, job_id = self._job(request)
        reply: JobsMetadataReply = {"jobs": [metadata_reply(await scheduler.metadata(job_id))]}
        return json_reply(reply)

    async def AttachJob(self, request: pb.AttachJobRequest, context: Any) -> HttpBody:
        """Run a command in a running job: 204."""
        scheduler, job_id = self._job(request)
        command = read_body(AttachBody, request.body).command
        limits.check_command(command)
        await scheduler.attach(job_id, command)
        return await _answer(context, 204)

    async def CancelJob(self, request: pb.JobRequest, context: Any) -> HttpBody:
        """Cancel a job: 204."""
        scheduler, job_id = self._job(request)
        await scheduler.cancel(job_id)
        return await _answer(context, 204)

    async def GetNodes(self, request: pb.SystemRequest, context: Any) -> HttpBody:
        """List the compute nodes."""
        nodes = await scheduler_of(self._schedulers, request.system).nodes()
        return await self._nodes.reply(nodes, nodes_reply)

    async def GetReservations(self, request: pb.SystemRequest, context: Any) -> HttpBody:
        """List the reservations."""
        reservations = await scheduler_of(self._schedulers, request.system).reservations()
        reply: ReservationsReply = {"reservations": [reservation_reply(r) for r in reservations]}
        return json_reply(reply)

    async def GetPartitions(self, request: pb.GetPartitionsRequest, context: Any) -> HttpBody:
        """List the partitions."""
        scheduler = scheduler_of(self._schedulers, request.system)
        hidden = read_query(PartitionsQuery, request).show_hidden
        shown = [item for item in await scheduler.partitions() if hidden or not item.hidden]
        reply: PartitionsReply = {"partitions": [partition_reply(item) for item in shown]}
        return json_reply(reply)

    async def GetUserInfo(self, request: pb.SystemRequest, context: Any) -> HttpBody:
        """Return the caller's user, groups and accounts."""
        user = await scheduler_of(self._schedulers, request.system).user_info()
        return json_reply(user_reply(user))

    def _job(self, request: pb.JobRequest | pb.AttachJobRequest) -> tuple[Scheduler, str]:
        scheduler = scheduler_of(self._schedulers, request.system)
        if not scheduler.is_job_id(request.job_id):
            validate(JobPath, {"job_id": request.job_id}, "path")
        return scheduler, request.job_id


async def _answer(context: Any, status: int) -> HttpBody:
    """An answer without a body."""
    await set_status(context, status)
    return HttpBody()

"""The methods of the queue's API, by the schedulers of `compute`."""

from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty

import passerelle_queue.queue_pb2 as pb
import passerelle_queue.queue_pb2_grpc as pb_grpc
from passerelle.compute.scheduler import Job, JobFilter, Scheduler
from passerelle.runtime.errors import NotFound


class QueueService(pb_grpc.QueueServiceServicer):  # type: ignore[misc]  # generated when it is built
    """The servicer of `queue.v1.QueueService`."""

    def __init__(self, schedulers: Mapping[str, Scheduler]) -> None:
        self._schedulers = schedulers

    async def ListEntries(self, request: Any, context: Any) -> Any:
        """The caller's entries."""
        jobs = await self._scheduler(request.system).jobs(JobFilter())
        return pb.ListEntriesResponse(entries=map(_entry, jobs))

    async def GetEntry(self, request: Any, context: Any) -> Any:
        """One of them."""
        [job, *_] = await self._scheduler(request.system).job(request.entry)
        return _entry(job)

    async def RemoveEntry(self, request: Any, context: Any) -> Empty:
        """Cancel its job."""
        await self._scheduler(request.system).cancel(request.entry)
        return Empty()

    def _scheduler(self, system: str) -> Scheduler:
        if system not in self._schedulers:
            raise NotFound("There is no such queue.", system=system)
        return self._schedulers[system]


def _entry(job: Job) -> Any:
    return pb.Entry(entry=job.id, name=job.name, state=job.status.word)


def add(server: grpc.aio.Server, schedulers: Mapping[str, Scheduler]) -> None:
    """Serve the methods."""
    pb_grpc.add_QueueServiceServicer_to_server(QueueService(schedulers), server)

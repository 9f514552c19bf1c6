"""The native `passerelle.v1.TransferService`: converts, calls, converts."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from passerelle.storage.jobs.port import SubmittedJob
from passerelle.storage.native.file_messages import path_in, target
from passerelle.storage.paths import checked_path
from passerelle.storage.places import Place, Places, place_of
from passerelle.storage.staging.port import Staged, Staging, StagingRequest
from passerelle.storage.staging.wire import NativeRequest, Parameters
from passerelle.storage.transfers.copies import CopyProgress, Order, Road
from passerelle.v1 import transfers_pb2 as pb
from passerelle.v1 import transfers_pb2_grpc as pb_grpc


class TransferService(pb_grpc.TransferServiceServicer):
    """Bulk data over gRPC, and over REST under /v1."""

    def __init__(self, places: Places, roads: Mapping[str, Road]) -> None:
        """`roads` between systems: `direct` and `staged`."""
        self._places = places
        self._roads = roads

    async def TransferFile(
        self, request: pb.TransferFileRequest, context: Any
    ) -> AsyncIterator[pb.TransferProgress]:
        """Copy a file from one system to another."""
        road = "staged" if request.method == pb.TransferFileRequest.STAGED else "direct"
        async with aclosing(self._roads[road].copy(self._order(request))) as told:
            async for progress in told:
                yield _progress_message(progress)

    def _order(self, request: pb.TransferFileRequest) -> Order:
        source, path = target(self._places, request)
        there = place_of(self._places, request.target_system)
        return Order(
            source=source,
            path=path,
            target=there,
            target_path=path_in(there, request, "target"),
            overwrite=request.overwrite,
            resume=request.resume,
            account=request.account or None,
            target_account=request.target_account or request.account or None,
        )

    async def StageUpload(self, request: pb.StageUploadRequest, context: Any) -> pb.StagedTransfer:
        """Submit the job that fetches a file."""
        place, name, method = self._method(request)
        wanted = _wanted(place, request, method.wire.upload.from_native(name, request))
        return _staged_message(name, await place.staging.upload(method, wanted))

    async def StageDownload(
        self, request: pb.StageDownloadRequest, context: Any
    ) -> pb.StagedTransfer:
        """Submit the job that brings a file out."""
        place, name, method = self._method(request)
        wanted = _wanted(place, request, method.wire.download.from_native(name, request))
        return _staged_message(name, await place.staging.download(method, wanted))

    def _method(self, request: NativeRequest) -> tuple[Place, str, Staging]:
        """The system, and the name and the staging method that the request means there."""
        place = place_of(self._places, request.system)
        return place, *place.staging.named(request.method)


def _wanted(
    place: Place, request: NativeRequest, parameters: Parameters
) -> StagingRequest[Parameters]:
    path = checked_path(place.system, request.path)
    return StagingRequest(path, parameters, request.account or None)


def _progress_message(progress: CopyProgress) -> pb.TransferProgress:
    return pb.TransferProgress(
        bytes_done=progress.done,
        bytes_total=progress.total,
        bytes_resumed=progress.resumed,
        jobs=map(_job_message, progress.jobs),
        finished=bool(progress.sha256),
        sha256=progress.sha256,
    )


def _job_message(job: SubmittedJob) -> pb.TransferJob:
    return pb.TransferJob(
        job_id=job.job_id,
        system=job.system,
        working_directory=job.working_directory,
        output_log=job.output_log,
        error_log=job.error_log,
    )


def _staged_message(method: str, staged: Staged) -> pb.StagedTransfer:
    message = staged.instructions.native()
    message.method = method
    message.job.CopyFrom(_job_message(staged.job))
    return message

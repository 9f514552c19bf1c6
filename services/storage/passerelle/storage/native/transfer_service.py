"""The native `passerelle.v1.TransferService`: converts, calls, converts."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from passerelle.storage.jobs.port import SubmittedJob
from passerelle.storage.native.file_messages import path_in, target
from passerelle.storage.paths import checked_path
from passerelle.storage.places import Places, place_of
from passerelle.storage.staging.port import (
    Code,
    Coordinates,
    DownloadUrl,
    Inbound,
    Outbound,
    PartUrls,
    Staged,
)
from passerelle.storage.transfers.copies import CopyProgress, Order, Road
from passerelle.v1 import transfers_pb2 as pb
from passerelle.v1 import transfers_pb2_grpc as pb_grpc


class TransferService(pb_grpc.TransferServiceServicer):
    """Bulk data over gRPC, and over REST under /v1."""

    def __init__(self, places: Places, roads: Mapping[str, Road]) -> None:
        """`roads` between systems: `direct` and `staged`."""
        self._places = places
        self._roads = roads

    async def Transfer(
        self, request: pb.TransferRequest, context: Any
    ) -> AsyncIterator[pb.TransferProgress]:
        """From one system to another."""
        road = "staged" if request.method == pb.TransferRequest.STAGED else "direct"
        async with aclosing(self._roads[road].copy(self._order(request))) as told:
            async for progress in told:
                yield _progress_message(progress)

    def _order(self, request: pb.TransferRequest) -> Order:
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
        """Let a file come."""
        place = place_of(self._places, request.system)
        inbound = Inbound(
            checked_path(place.system, request.path),
            size=request.size if request.HasField("size") else None,
            account=request.account or None,
            code=request.wormhole_code or None,
        )
        return _staged_message(await place.staging.upload(request.method, inbound))

    async def StageDownload(
        self, request: pb.StageDownloadRequest, context: Any
    ) -> pb.StagedTransfer:
        """Let a file leave."""
        place = place_of(self._places, request.system)
        outbound = Outbound(checked_path(place.system, request.path), request.account or None)
        return _staged_message(await place.staging.download(request.method, outbound))


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


def _staged_message(staged: Staged) -> pb.StagedTransfer:
    message = pb.StagedTransfer(job=_job_message(staged.job))
    match staged.directives:
        case PartUrls(parts, complete, part_size):
            urls = pb.StagedTransfer.S3(part_urls=parts, complete_url=complete, part_size=part_size)
            message.s3.CopyFrom(urls)
        case DownloadUrl(url):
            message.s3.CopyFrom(pb.StagedTransfer.S3(download_url=url))
        case Coordinates(encoded):
            message.streamer.CopyFrom(pb.StagedTransfer.Streamer(coordinates=encoded))
        case Code(code):
            message.wormhole.CopyFrom(pb.StagedTransfer.Wormhole(code=code or ""))
    return message

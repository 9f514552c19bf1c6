"""The native `passerelle.v1.TransferService`: converts, calls, converts."""

from typing import Any

from passerelle.storage.places import Places, checked_path, place_of
from passerelle.storage.staging import (
    Code,
    Coordinates,
    DownloadUrl,
    Inbound,
    Outbound,
    PartUrls,
    Staged,
)
from passerelle.v1 import transfers_pb2 as pb
from passerelle.v1 import transfers_pb2_grpc as pb_grpc


class TransferService(pb_grpc.TransferServiceServicer):
    """Bulk data over gRPC, and over REST under /v1."""

    def __init__(self, places: Places) -> None:
        self._places = places

    async def StageUpload(self, request: pb.StageUploadRequest, context: Any) -> pb.StagedTransfer:
        """Let a file come."""
        place = place_of(self._places, request.system)
        inbound = Inbound(
            checked_path(place.system, request.path),
            size=request.size,
            account=request.account or None,
            code=request.wormhole_code or None,
        )
        return _staged_message(await place.staging.upload(request.method or None, inbound))

    async def StageDownload(
        self, request: pb.StageDownloadRequest, context: Any
    ) -> pb.StagedTransfer:
        """Let a file leave."""
        place = place_of(self._places, request.system)
        outbound = Outbound(checked_path(place.system, request.path), request.account or None)
        return _staged_message(await place.staging.download(request.method or None, outbound))


def _staged_message(staged: Staged) -> pb.StagedTransfer:
    message = pb.StagedTransfer(
        job=pb.TransferJob(
            job_id=staged.job.job_id,
            system=staged.job.system,
            working_directory=staged.job.working_directory,
            output_log=staged.job.output_log,
            error_log=staged.job.error_log,
        )
    )
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

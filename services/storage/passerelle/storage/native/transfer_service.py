"""The native `passerelle.v1.TransferService`: converts, calls, converts."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from passerelle.storage.jobs.port import SubmittedJob
from passerelle.storage.native.file_messages import path_in, target
from passerelle.storage.paths import checked_path
from passerelle.storage.staging.port import Staged, Staging, StagingRequest
from passerelle.storage.staging.wire import NativeRequest, Parameters
from passerelle.storage.systems import Systems, SystemsServicer
from passerelle.storage.transfers.copies import CopyContext, CopyProgress, CopySpec, Route
from passerelle.v1 import transfers_pb2 as pb
from passerelle.v1 import transfers_pb2_grpc as pb_grpc


class TransferService(SystemsServicer[CopyContext], pb_grpc.TransferServiceServicer):
    """Bulk data over gRPC, and over REST under /v1."""

    def __init__(self, systems: Systems[CopyContext], routes: Mapping[str, Route]) -> None:
        """`routes` between systems: `direct` and `staged`."""
        super().__init__(systems)
        self._routes = routes

    async def TransferFile(
        self, request: pb.TransferFileRequest, context: Any
    ) -> AsyncIterator[pb.TransferProgress]:
        """Copy a file from one system to another."""
        route = "staged" if request.method == pb.TransferFileRequest.STAGED else "direct"
        async with aclosing(self._routes[route].copy(self._spec(request))) as steps:
            async for progress in steps:
                yield _progress_message(progress)

    def _spec(self, request: pb.TransferFileRequest) -> CopySpec:
        source, path = target(self._systems, request)
        target_system = self._systems.named(request.target_system)
        return CopySpec(
            source=source,
            path=path,
            target=target_system,
            target_path=path_in(target_system, request, "target"),
            overwrite=request.overwrite,
            resume=request.resume,
            account=request.account or None,
            target_account=request.target_account or request.account or None,
        )

    async def StageUpload(self, request: pb.StageUploadRequest, context: Any) -> pb.StagedTransfer:
        """Submit the job for an upload by a staging method."""
        system, name, method = self._method(request)
        staging_request = _staging_request(
            system, request, method.wire.upload.from_native(name, request)
        )
        return _staged_message(name, await system.staging.upload(method, staging_request))

    async def StageDownload(
        self, request: pb.StageDownloadRequest, context: Any
    ) -> pb.StagedTransfer:
        """Submit the job for a download by a staging method."""
        system, name, method = self._method(request)
        staging_request = _staging_request(
            system, request, method.wire.download.from_native(name, request)
        )
        return _staged_message(name, await system.staging.download(method, staging_request))

    def _method(self, request: NativeRequest) -> tuple[CopyContext, str, Staging]:
        """The system, and the name and the method that the request names there."""
        system = self._systems.named(request.system)
        return system, *system.staging.named(request.method)


def _staging_request(
    system: CopyContext, request: NativeRequest, parameters: Parameters
) -> StagingRequest[Parameters]:
    path = checked_path(system.config, request.path)
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
    return pb.TransferJob(**asdict(job))  # whose fields have the same names


def _staged_message(method: str, staged: Staged) -> pb.StagedTransfer:
    message = staged.instructions.native()
    message.method = method
    message.job.CopyFrom(_job_message(staged.job))
    return message

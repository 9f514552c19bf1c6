"""FirecREST v2 `/filesystem/{system}/transfer`: file operations of any length, each a job on the system.

The rules are from its contract and recorded replies; docs/firecrest-profile.md lists deliberate differences.
"""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.api.httpbody_pb2 import HttpBody

from passerelle.firecrest.v2 import transfer_pb2 as pb
from passerelle.firecrest.v2 import transfer_pb2_grpc as pb_grpc
from passerelle.firecrest.v2.filesystem_pb2 import BodyRequest
from passerelle.runtime.config.site import System
from passerelle.runtime.errors import InvalidArgument
from passerelle.runtime.surface import Operation
from passerelle.storage.files.port import Files
from passerelle.storage.files.tarballs import Tarball
from passerelle.storage.firecrest.clients import adapted, for_old_client, is_old
from passerelle.storage.firecrest.gnu_wording import errors_of
from passerelle.storage.firecrest.ops_bodies import target_and_body
from passerelle.storage.firecrest.paths import checked_path
from passerelle.storage.firecrest.transfer_bodies import (
    CompressJobBody,
    CopyJobBody,
    DownloadBody,
    ExtractJobBody,
    JobBody,
    LogsReply,
    RemoveQuery,
    StagedReply,
    TargetJobBody,
    TransferJobReply,
    TransferReply,
    UploadBody,
)
from passerelle.storage.jobs import scripts
from passerelle.storage.jobs.port import ShellWork, SubmittedJob, TransferJobs
from passerelle.storage.staging.port import Staged, Staging, StagingRequest
from passerelle.storage.staging.staged import StagedTransfers
from passerelle.storage.staging.targets import refuse_pipe, require_inside
from passerelle.storage.staging.wire import Parameters
from passerelle.storage.systems import SystemsServicer
from passerelle.surfaces.firecrest.bodies import read_query
from passerelle.surfaces.firecrest.replies import json_reply, set_status

OPENAPI: Mapping[str, Operation] = {
    "Move": Operation(body=TargetJobBody, replies={201: TransferReply}),
    "Copy": Operation(body=CopyJobBody, replies={201: TransferReply}),
    "Remove": Operation(query=RemoveQuery, replies={200: TransferReply}),
    "Compress": Operation(body=CompressJobBody, replies={201: TransferReply}),
    "Extract": Operation(body=ExtractJobBody, replies={201: TransferReply}),
    "Upload": Operation(body=UploadBody, replies={201: StagedReply}),
    "Download": Operation(body=DownloadBody, replies={201: StagedReply}),
}


@dataclass(frozen=True)
class TransferContext:
    """A system, and its parts for transfer jobs."""

    config: System
    files: Files
    jobs: TransferJobs
    staging: StagedTransfers


class TransferProfile(SystemsServicer[TransferContext], pb_grpc.TransferServiceServicer):
    """The profile's transfers."""

    async def Move(self, request: BodyRequest, context: Any) -> HttpBody:
        """`mv` by a job."""
        system, source, body = target_and_body(self._systems, TargetJobBody, request)
        work = scripts.move(source, await _target(system, source, body))
        return await _submitted(context, system, "MoveFiles", work, body)

    async def Copy(self, request: BodyRequest, context: Any) -> HttpBody:
        """`cp` by a job."""
        system, source, body = target_and_body(self._systems, CopyJobBody, request)
        target = await _target(system, source, body, follow=body.dereference)
        work = scripts.copy(source, target, dereference=body.dereference)
        return await _submitted(context, system, "CopyFiles", work, body)

    async def Remove(self, request: pb.RemoveByJobRequest, context: Any) -> HttpBody:
        """`rm -R` by a job: 200."""
        system = self._systems.named(request.system)
        path = checked_path(system.config, request.path if request.HasField("path") else None)
        account = read_query(RemoveQuery, request).account
        await require_inside(system.files, system.config, path, follow=False)
        job = await system.jobs.submit("DeleteFiles", scripts.remove(path), account)
        return json_reply(TransferReply(transferJob=_job_reply(job)))

    async def Compress(self, request: BodyRequest, context: Any) -> HttpBody:
        """`tar -c` by a job."""
        system, source, body = target_and_body(self._systems, CompressJobBody, request)
        if body.match_pattern:  # files beside the source match, too
            checked_path(system.config, posixpath.dirname(source))
        target = await _target(system, source, body, follow=body.dereference)
        tarball = Tarball(source, body.compression, body.dereference, body.match_pattern)
        work = scripts.compress(tarball, target)
        reply = await _submitted(context, system, "CompressFiles", work, body)
        system.staging.look_after()
        return reply

    async def Extract(self, request: BodyRequest, context: Any) -> HttpBody:
        """`tar -x` by a job."""
        system, source, body = target_and_body(self._systems, ExtractJobBody, request)
        target = await _target(system, source, body, follow=True)
        with errors_of("tar", source):
            await refuse_pipe(system.files, source)
        work = scripts.extract(source, target, body.compression)
        return await _submitted(context, system, "CompressFiles", work, body)

    async def Upload(self, request: BodyRequest, context: Any) -> HttpBody:
        """Submit the job for an upload by a staging method."""
        system, staging_request = self._staging_request(UploadBody, request)
        with errors_of("stat", staging_request.path):
            staged = await system.staging.upload(_method(system, staging_request), staging_request)
        return await _staged(context, staged, request)

    async def Download(self, request: BodyRequest, context: Any) -> HttpBody:
        """Submit the job for a download by a staging method."""
        system, staging_request = self._staging_request(DownloadBody, request)
        with errors_of("stat", staging_request.path):
            staged = await system.staging.download(
                _method(system, staging_request), staging_request
            )
        return await _staged(context, staged, request)

    def _staging_request(
        self, model: type[UploadBody | DownloadBody], request: BodyRequest
    ) -> tuple[TransferContext, StagingRequest[Parameters]]:
        """The system, and the request for its staging method."""
        methods = self._systems.named(request.system).staging.methods
        system, path, body = target_and_body(self._systems, model, adapted(request, methods))
        return system, StagingRequest(path, body.transfer_directives, body.account)


def _method(system: TransferContext, staging_request: StagingRequest[Parameters]) -> Staging:
    """The requested staging method. Raises InvalidArgument, which lists the system's methods."""
    if not system.staging.methods:
        limit = system.config.data_operation.max_ops_file_size
        raise InvalidArgument(
            "Requested transfer method is not available. Available on this system: none. "
            f"Files of up to {limit} bytes go by ops/upload and ops/download, of any size by "
            f"/v1/systems/{system.config.name}/files:content."
        )
    return system.staging.named(staging_request.parameters.transfer_method)[1]


async def _target(
    system: TransferContext, source: str, body: TargetJobBody, *, follow: bool = False
) -> str:
    """The target's path. Raises Outside when links on the way to it, or to the source, lead out of the filesystems.
    With `follow` a final link of the source counts, too."""
    target = checked_path(system.config, body.target_path)
    await require_inside(system.files, system.config, source, follow=follow)
    await require_inside(system.files, system.config, target, follow=True, field="targetPath")
    return target


async def _submitted(
    context: Any, system: TransferContext, name: str, work: ShellWork, body: JobBody
) -> HttpBody:
    job = await system.jobs.submit(name, work, body.account)
    return await _created(context, TransferReply(transferJob=_job_reply(job)))


async def _staged(context: Any, staged: Staged, request: BodyRequest) -> HttpBody:
    reply = StagedReply(
        transferJob=_job_reply(staged.job), transferDirectives=staged.instructions.json_form()
    )
    return await _created(context, for_old_client(reply) if is_old(request) else reply)


async def _created(context: Any, reply: Mapping[str, Any]) -> HttpBody:
    """A reply with status 201. To be called last, since the status cannot be changed afterwards."""
    await set_status(context, 201)
    return json_reply(reply)


def _job_reply(job: SubmittedJob) -> TransferJobReply:
    return TransferJobReply(
        jobId=job.job_id,
        system=job.system,
        workingDirectory=job.working_directory,
        logs=LogsReply(outputLog=job.output_log, errorLog=job.error_log),
    )

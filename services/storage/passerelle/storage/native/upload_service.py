"""The native `passerelle.v1.UploadService`: converts, calls, converts."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.empty_pb2 import Empty

from passerelle.runtime import log_fields
from passerelle.runtime.config.site import System
from passerelle.runtime.errors import Field, InvalidArgument
from passerelle.storage.files.uploads import Uploads
from passerelle.storage.native.content_messages import conditions_of, written_message
from passerelle.storage.native.file_messages import target
from passerelle.storage.paths import shown
from passerelle.storage.request_content import pieces
from passerelle.storage.systems import SystemsServicer
from passerelle.v1 import storage_pb2
from passerelle.v1 import uploads_pb2 as pb
from passerelle.v1 import uploads_pb2_grpc as pb_grpc


@dataclass(frozen=True)
class UploadContext:
    """A system and the uploads to it."""

    config: System
    uploads: Uploads


class UploadService(SystemsServicer[UploadContext], pb_grpc.UploadServiceServicer):
    """Resumable uploads over gRPC, and over REST under /v1."""

    async def CreateUpload(self, request: pb.CreateUploadRequest, context: Any) -> pb.Upload:
        """Begin an upload."""
        system, path = target(self._systems, request)
        upload_id = await system.uploads.create(path)
        log_fields.note(upload_id=upload_id)
        return pb.Upload(upload_id=upload_id, path=shown(path))

    async def GetUpload(self, request: pb.GetUploadRequest, context: Any) -> pb.Upload:
        """Return the number of bytes that have arrived."""
        system, path = target(self._systems, request)
        received = await system.uploads.received(path, request.upload_id)
        return pb.Upload(upload_id=request.upload_id, path=shown(path), received_bytes=received)

    async def WriteUpload(
        self, requests: AsyncIterator[pb.WriteUploadRequest], context: Any
    ) -> pb.Upload:
        """Write the next bytes."""
        first = await anext(requests)
        system, path = target(self._systems, first)
        upload_id, offset = first.upload_id, first.offset
        content = pieces(first.content.data, requests)
        del first
        received = await system.uploads.write(path, upload_id, offset, content)
        return pb.Upload(upload_id=upload_id, path=shown(path), received_bytes=received)

    async def CompleteUpload(
        self, request: pb.CompleteUploadRequest, context: Any
    ) -> storage_pb2.WriteFileResponse:
        """Move the upload to its target."""
        system, path = target(self._systems, request)
        if request.size_bytes < 0:
            violation = "must not be negative"
            raise InvalidArgument(
                f"size_bytes {violation}", (Field("body", "size_bytes", violation),)
            )
        conditions = conditions_of(request, context)
        written = await system.uploads.complete(
            path, request.upload_id, request.size_bytes, conditions
        )
        return written_message(path, written)

    async def DeleteUpload(self, request: pb.DeleteUploadRequest, context: Any) -> Empty:
        """Remove an upload."""
        system, path = target(self._systems, request)
        await system.uploads.abort(path, request.upload_id)
        return Empty()

"""The native `passerelle.v1.StorageService`: converts, calls, converts."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from passerelle.storage.files.attributes import Attributes
from passerelle.storage.files.checksums import Checksums
from passerelle.storage.files.port import Files
from passerelle.storage.files.trees import Trees
from passerelle.storage.native.archive_service import ArchiveContext, read_archive, write_archive
from passerelle.storage.native.attribute_messages import algorithm_of, checksum_message, link_target
from passerelle.storage.native.content_messages import (
    Reading,
    conditions_of,
    content_message,
    written_message,
)
from passerelle.storage.native.file_messages import file_message, path_in, target
from passerelle.storage.native.tree_messages import (
    answers_message,
    batch_message,
    file_progress,
    listing_of,
    page_message,
    paths_of,
    quota_message,
    usage_progress,
    walk_of,
)
from passerelle.storage.request_content import announced_length, of_length, pieces
from passerelle.storage.systems import SystemsServicer
from passerelle.storage.values import Progress, Steps
from passerelle.v1 import storage_pb2 as pb
from passerelle.v1 import storage_pb2_grpc as pb_grpc

T = TypeVar("T")


@dataclass(frozen=True)
class StorageContext(ArchiveContext):
    """A system, and its parts for file operations and archives."""

    files: Files
    trees: Trees
    attributes: Attributes
    checksums: Checksums


class StorageService(SystemsServicer[StorageContext], pb_grpc.StorageServiceServicer):
    """Files over gRPC, and over REST under /v1."""

    async def StatFile(self, request: pb.StatFileRequest, context: Any) -> pb.File:
        """Return the attributes of one file."""
        system, path = self._target(request)
        return file_message(await system.files.stat(path, dereference=request.dereference))

    async def ListFiles(self, request: pb.ListFilesRequest, context: Any) -> pb.ListFilesResponse:
        """List a directory."""
        system, path = self._target(request)
        return page_message(request, await system.files.list(path, listing_of(request)))

    async def BatchStatFiles(
        self, request: pb.BatchStatFilesRequest, context: Any
    ) -> pb.BatchStatFilesResponse:
        """Return the attributes of many files."""
        system = self._systems.named(request.system)
        paths = paths_of(system, request)
        sound = [path for path in paths if isinstance(path, str)]
        results = iter(await system.trees.stat(sound, dereference=request.dereference))
        answers = [next(results) if isinstance(path, str) else path for path in paths]
        return answers_message(request, answers)

    async def PingFilesystem(
        self, request: pb.PingFilesystemRequest, context: Any
    ) -> pb.PingFilesystemResponse:
        """Stat a directory; return the means of access that the account lacks."""
        system, path = self._target(request)
        await system.files.stat(path, dereference=True)
        return pb.PingFilesystemResponse(message="; ".join(await system.files.notes()))

    async def WalkFiles(
        self, request: pb.WalkFilesRequest, context: Any
    ) -> AsyncIterator[pb.WalkFilesResponse]:
        """Stream a tree."""
        system, path = self._target(request)
        async with aclosing(system.trees.walk(path, walk_of(request))) as batches:
            async for batch in batches:
                yield batch_message(batch)
        yield pb.WalkFilesResponse(finished=True)

    async def ReadFile(self, request: pb.ReadFileRequest, context: Any) -> AsyncIterator[bytes]:
        """Stream a file's bytes, or a range of them, as serialized HttpBody messages."""
        system, path = self._target(request)
        async with system.downloads.opened(path) as file:
            reading = Reading(request, context, file)
            if not reading.wants_content:
                await context.send_initial_metadata(reading.reply_headers)
                yield content_message(b"")  # for its type
                return
            span = reading.span
            async with aclosing(file.chunks(span.offset, span.length)) as chunks:  # type: ignore[type-var]
                first = await anext(chunks, b"")
                # Only now: after initial metadata no error reaches a REST caller.
                await context.send_initial_metadata(reading.reply_headers)
                yield content_message(first)
                async for chunk in chunks:
                    yield content_message(chunk)

    async def WriteFile(
        self, requests: AsyncIterator[pb.WriteFileRequest], context: Any
    ) -> pb.WriteFileResponse:
        """Write a file."""
        first = await anext(requests)
        system, path = self._target(first)
        conditions = conditions_of(first, context)
        content, length = pieces(first.content.data, requests), announced_length(context)
        del first
        if length is not None:
            content = of_length(content, length)
        written = await system.files.write(
            path, content, conditions, cut_off_raises=length is not None
        )
        return written_message(path, written)

    async def CreateDirectory(self, request: pb.CreateDirectoryRequest, context: Any) -> pb.File:
        """Create a directory."""
        system, path = self._target(request)
        return file_message(await system.files.make_directory(path, parents=request.parents))

    async def CreateSymlink(self, request: pb.CreateSymlinkRequest, context: Any) -> pb.File:
        """Create a symbolic link."""
        system, path = self._target(request)
        await system.attributes.make_symlink(path, link_target(system, path, request))
        return file_message(await system.files.stat(path))

    async def ChangeMode(self, request: pb.ChangeModeRequest, context: Any) -> pb.File:
        """Change permission bits."""
        system, path = self._target(request)
        await system.attributes.change_mode(path, request.mode)
        return file_message(await system.files.stat(path, dereference=True))

    async def ChangeOwner(self, request: pb.ChangeOwnerRequest, context: Any) -> pb.File:
        """Change owner and group."""
        system, path = self._target(request)
        await system.attributes.change_owner(path, request.user, request.group)
        return file_message(await system.files.stat(path, dereference=True))

    async def GetFileType(
        self, request: pb.GetFileTypeRequest, context: Any
    ) -> pb.GetFileTypeResponse:
        """Return the description of a file by file(1)."""
        system, path = self._target(request)
        await system.files.stat(path)  # file(1) succeeds for a missing file
        return pb.GetFileTypeResponse(description=await system.attributes.kind(path))

    async def ChecksumFile(
        self, request: pb.ChecksumFileRequest, context: Any
    ) -> AsyncIterator[pb.FileProgress]:
        """Compute a file's checksum."""
        system, path = self._target(request)
        algorithm = algorithm_of(request)
        async with aclosing(system.checksums.compute(path, algorithm)) as steps:
            async for progress in steps:
                yield checksum_message(progress, algorithm)

    def ReadArchive(self, request: pb.ReadArchiveRequest, context: Any) -> AsyncIterator[bytes]:
        """Stream a directory as an archive, in serialized HttpBody messages."""
        return read_archive(self._systems, request, context)

    async def WriteArchive(
        self, requests: AsyncIterator[pb.WriteArchiveRequest], context: Any
    ) -> pb.WriteArchiveResponse:
        """Unpack an archive."""
        return await write_archive(self._systems, requests)

    def CopyFile(self, request: pb.CopyFileRequest, context: Any) -> AsyncIterator[pb.FileProgress]:
        """Copy a file or a directory."""
        system, path = self._target(request)
        steps = system.trees.copy(
            path,
            path_in(system, request, "target"),
            overwrite=request.overwrite,
            dereference=request.dereference,
        )
        return _each(steps, file_progress)

    def MoveFile(self, request: pb.MoveFileRequest, context: Any) -> AsyncIterator[pb.FileProgress]:
        """Move a file or a directory."""
        system, path = self._target(request)
        aim = path_in(system, request, "target")
        return _each(system.trees.move(path, aim, overwrite=request.overwrite), file_progress)

    def DeleteFile(
        self, request: pb.DeleteFileRequest, context: Any
    ) -> AsyncIterator[pb.FileProgress]:
        """Delete a file or a directory."""
        system, path = self._target(request)
        return _each(system.trees.remove(path), file_progress)

    def MeasureUsage(
        self, request: pb.MeasureUsageRequest, context: Any
    ) -> AsyncIterator[pb.FileProgress]:
        """Measure the disk usage of a tree."""
        system, path = self._target(request)
        return _each(system.trees.measure(path), usage_progress)

    async def GetQuota(self, request: pb.GetQuotaRequest, context: Any) -> pb.Quota:
        """Return the used and free space of a filesystem."""
        system, path = self._target(request)
        return quota_message(await system.trees.quota(path))

    def _target(self, request: Any) -> tuple[StorageContext, str]:
        return target(self._systems, request)


async def _each(
    steps: Steps[T], message: Callable[[Progress[T]], pb.FileProgress]
) -> AsyncIterator[pb.FileProgress]:
    """A message for each step of a long operation; the operation is cancelled when the iterator is closed."""
    async with aclosing(steps):
        async for progress in steps:
            yield message(progress)

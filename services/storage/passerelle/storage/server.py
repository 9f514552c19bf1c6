"""The native `passerelle.v1.StorageService`: converts, calls, converts."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.empty_pb2 import Empty

from passerelle.storage.archive_server import read_archive, write_archive
from passerelle.storage.attribute_messages import algorithm_of, checksum_message, link_target
from passerelle.storage.content_messages import (
    Reading,
    content_message,
    pieces,
    terms_of,
    written_message,
)
from passerelle.storage.files import EVERYTHING, Listing
from passerelle.storage.messages import file_message, target
from passerelle.storage.places import Place, Places
from passerelle.v1 import storage_pb2 as pb
from passerelle.v1 import storage_pb2_grpc as pb_grpc


class StorageService(pb_grpc.StorageServiceServicer):
    """Files over gRPC, and over REST under /v1."""

    def __init__(self, places: Places) -> None:
        self._places = places

    async def StatFile(self, request: pb.StatFileRequest, context: Any) -> pb.File:
        """One file."""
        place, path = self._target(request)
        return file_message(await place.files.stat(path, dereference=request.dereference))

    async def ListFiles(self, request: pb.ListFilesRequest, context: Any) -> pb.ListFilesResponse:
        """A directory."""
        place, path = self._target(request)
        listing = Listing(request.show_hidden, request.recursive, request.dereference)
        found = await place.files.list(path, listing)
        return pb.ListFilesResponse(files=[file_message(info) for info in found])

    async def ReadFile(self, request: pb.ReadFileRequest, context: Any) -> AsyncIterator[HttpBody]:
        """A file's bytes, or a range of them."""
        place, path = self._target(request)
        async with place.files.opened(path) as file:
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
        """A new file, or new content for an old one."""
        first = await anext(requests)
        place, path = self._target(first)
        terms = terms_of(first, context)
        return written_message(path, await place.files.write(path, pieces(first, requests), terms))

    async def MakeDirectory(self, request: pb.MakeDirectoryRequest, context: Any) -> pb.File:
        """A new directory."""
        place, path = self._target(request)
        await place.files.make_directory(path, EVERYTHING, parents=request.parents)
        return file_message(await place.files.stat(path, dereference=True))

    async def MakeSymlink(self, request: pb.MakeSymlinkRequest, context: Any) -> pb.File:
        """A new link."""
        place, path = self._target(request)
        await place.attributes.make_symlink(path, link_target(place, path, request))
        return file_message(await place.files.stat(path))

    async def ChangeMode(self, request: pb.ChangeModeRequest, context: Any) -> pb.File:
        """Other permission bits."""
        place, path = self._target(request)
        await place.attributes.change_mode(path, request.mode)
        return file_message(await place.files.stat(path, dereference=True))

    async def ChangeOwner(self, request: pb.ChangeOwnerRequest, context: Any) -> pb.File:
        """Another owner, another group."""
        place, path = self._target(request)
        await place.attributes.change_owner(path, request.user, request.group)
        return file_message(await place.files.stat(path, dereference=True))

    async def GetFileType(self, request: pb.GetFileTypeRequest, context: Any) -> pb.FileType:
        """What a file holds."""
        place, path = self._target(request)
        await place.files.stat(path)  # file(1) does not take a missing file for a failure
        return pb.FileType(description=await place.attributes.kind(path))

    async def ChecksumFile(
        self, request: pb.ChecksumFileRequest, context: Any
    ) -> AsyncIterator[pb.FileProgress]:
        """A file's checksum."""
        place, path = self._target(request)
        algorithm = algorithm_of(request)
        async with aclosing(place.checksums.compute(path, algorithm)) as steps:
            async for progress in steps:
                yield checksum_message(progress, algorithm)

    def ReadArchive(
        self, request: pb.ReadArchiveRequest, context: Any
    ) -> AsyncIterator[HttpBody]:
        """A directory as an archive."""
        return read_archive(self._places, request, context)

    async def WriteArchive(
        self, requests: AsyncIterator[pb.WriteArchiveRequest], context: Any
    ) -> pb.WriteArchiveResponse:
        """A directory from an archive."""
        return await write_archive(self._places, requests)

    async def RemoveFile(self, request: pb.RemoveFileRequest, context: Any) -> Empty:
        """Away with it."""
        place, path = self._target(request)
        await place.files.remove(path)
        return Empty()

    def _target(self, request: Any) -> tuple[Place, str]:
        return target(self._places, request)

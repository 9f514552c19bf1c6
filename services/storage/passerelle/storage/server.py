"""The native `passerelle.v1.StorageService`: converts, calls, converts."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.empty_pb2 import Empty

from passerelle.runtime.errors import Field, InvalidArgument
from passerelle.storage.files import EVERYTHING, Listing, OpenFile
from passerelle.storage.messages import file_message, target
from passerelle.storage.places import Place, Places
from passerelle.storage.ranges import Span, span_of
from passerelle.v1 import storage_pb2 as pb
from passerelle.v1 import storage_pb2_grpc as pb_grpc

_BINARY = "application/octet-stream"
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")


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
            span = _span(request, context, file.size)
            async with aclosing(file.chunks(span.offset, span.length)) as chunks:  # type: ignore[type-var]
                first = await anext(chunks, b"")
                # Only now: after initial metadata no error reaches a REST caller.
                await context.send_initial_metadata(_headers(file, span))
                yield HttpBody(content_type=_BINARY, data=first)
                async for chunk in chunks:
                    yield HttpBody(content_type=_BINARY, data=chunk)

    async def WriteFile(
        self, requests: AsyncIterator[pb.WriteFileRequest], context: Any
    ) -> pb.WriteFileResponse:
        """A new file, or new content for an old one."""
        first = await anext(requests)
        place, path = self._target(first)
        content = _content(first, requests)
        written = await place.files.write(path, content, _checked_sha256(first.sha256))
        return pb.WriteFileResponse(path=path, size=written.size, sha256=written.sha256)

    async def MakeDirectory(self, request: pb.MakeDirectoryRequest, context: Any) -> pb.File:
        """A new directory."""
        place, path = self._target(request)
        await place.files.make_directory(path, EVERYTHING, parents=request.parents)
        return file_message(await place.files.stat(path, dereference=True))

    async def RemoveFile(self, request: pb.RemoveFileRequest, context: Any) -> Empty:
        """Away with it."""
        place, path = self._target(request)
        await place.files.remove(path)
        return Empty()

    def _target(self, request: Any) -> tuple[Place, str]:
        return target(self._places, request)


def _span(request: pb.ReadFileRequest, context: Any, size: int) -> Span:
    for name in ("offset", "length"):
        if getattr(request, name) < 0:
            wrong = "must not be negative"
            raise InvalidArgument(f"{name} {wrong}", (Field("query", name, wrong),))
    header = dict(context.invocation_metadata() or ()).get("range", "")
    if header and not (request.offset or request.length):
        return span_of(str(header), size) or Span(0, size)
    offset = min(request.offset, size)
    return Span(offset, min(request.length or size, size - offset))


def _headers(file: OpenFile, span: Span) -> tuple[tuple[str, str], ...]:
    """For REST callers; Envoy drops the length of streams unless its Lua filter restores it."""
    headers = [
        ("accept-ranges", "bytes"),
        ("etag", f'"{file.version}"'),
        ("x-content-length", str(span.length)),
    ]
    if span.partial:
        last = span.offset + span.length - 1
        headers += [
            ("x-http-code", "206"),
            ("content-range", f"bytes {span.offset}-{last}/{file.size}"),
        ]
    return tuple(headers)


async def _content(
    first: pb.WriteFileRequest, others: AsyncIterator[pb.WriteFileRequest]
) -> AsyncIterator[bytes]:
    yield first.content.data
    async for request in others:
        yield request.content.data


def _checked_sha256(text: str) -> str | None:
    if text and (len(text) != 64 or not _HEXADECIMAL.issuperset(text)):
        wrong = "must be 64 hexadecimal digits"
        raise InvalidArgument(f"sha256 {wrong}", (Field("query", "sha256", wrong),))
    return text or None

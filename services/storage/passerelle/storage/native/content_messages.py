"""Conversion of requests, headers and replies of ReadFile, WriteFile and uploads."""

from collections.abc import Mapping
from typing import Any

from passerelle.runtime.errors import Field, InvalidArgument
from passerelle.runtime.headers import HEAD, HTTP_STATUS, REST, STREAM_LENGTH
from passerelle.storage.errors import PreconditionFailed
from passerelle.storage.files.etags import among, tags
from passerelle.storage.files.port import OpenFile
from passerelle.storage.native.ranges import Span, span_of
from passerelle.storage.paths import shown
from passerelle.storage.reply_content import serialized_body
from passerelle.storage.values import WriteConditions, WriteMode, Written
from passerelle.v1 import storage_pb2 as pb

_MODES: Mapping[int, WriteMode] = {
    pb.WRITE_MODE_UNSPECIFIED: WriteMode.OVERWRITE,
    pb.OVERWRITE: WriteMode.OVERWRITE,
    pb.CREATE: WriteMode.CREATE,
    pb.APPEND: WriteMode.APPEND,
}
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
_BINARY = "application/octet-stream"


def conditions_of(request: Any, context: Any) -> WriteConditions:
    """The conditions of a WriteFileRequest or CompleteUploadRequest, those in its headers included.

    Raises InvalidArgument for an invalid mode or checksum, for more than one ETag, and for a contradiction.
    """
    if request.mode not in _MODES:
        raise _invalid("mode", "is not known")
    if request.sha256 and (
        len(request.sha256) != 64 or not _HEXADECIMAL.issuperset(request.sha256)
    ):
        raise _invalid("sha256", "must be 64 hexadecimal digits")
    headers = _headers(context)
    mode = _MODES[request.mode]
    if unwanted := headers.get("if-none-match"):
        if unwanted.strip() != "*" or mode is WriteMode.APPEND:
            raise _invalid("If-None-Match", "must be *, and not with the mode APPEND", "header")
        mode = WriteMode.CREATE
    if_match = request.if_match or _only_tag(headers.get("if-match"))
    return WriteConditions(mode, if_match, request.sha256.lower())


def _only_tag(header: str | None) -> str:
    if header is None:
        return ""
    etags = tags(header, weak=False)
    if len(etags) != 1:
        raise _invalid("If-Match", "must be one ETag in quotes, or *", "header")
    return etags[0]


def written_message(path: str, written: Written) -> pb.WriteFileResponse:
    """The reply to a write."""
    return pb.WriteFileResponse(
        path=shown(path), size_bytes=written.size, sha256=written.sha256, etag=written.version
    )


class Reading:
    """The part of an open file that a ReadFileRequest and its headers request."""

    def __init__(self, request: pb.ReadFileRequest, context: Any, file: OpenFile) -> None:
        """Raises InvalidArgument, RangeNotSatisfiable or PreconditionFailed."""
        self._headers = _headers(context)
        self._file = file
        self._require_version(request)
        self.span = self._span(request)

    def _require_version(self, request: pb.ReadFileRequest) -> None:
        header = self._headers.get("if-match")
        expected = (request.if_match,) if request.if_match else header and tags(header, weak=False)
        if expected is not None and not among(self._file.version, expected):
            raise PreconditionFailed(
                f"Not the version that was asked for: the file's ETag is {self._file.version}."
            )

    def _span(self, request: pb.ReadFileRequest) -> Span:
        for name in ("offset", "length"):
            if getattr(request, name) < 0:
                raise _invalid(name, "must not be negative")
        size = self._file.size
        if request.offset or request.length:
            offset = min(request.offset, size)
            return Span(offset, min(request.length or size, size - offset))
        range_header = self._headers.get("range", "")
        if range_header and self._is_current(self._headers.get("if-range")):
            return span_of(range_header, size) or Span(0, size)
        return Span(0, size)

    def _is_current(self, header: str | None) -> bool:
        """Whether an `If-Range` header has the file's ETag; a date never matches."""
        return header is None or among(self._file.version, tags(header, weak=False))

    @property
    def wants_content(self) -> bool:
        """Whether to send content: not for HEAD requests, nor to a client that has this version."""
        return not self._unchanged and HEAD not in self._headers

    @property
    def _unchanged(self) -> bool:
        header = self._headers.get("if-none-match", "")
        return REST in self._headers and among(self._file.version, tags(header, weak=True))

    @property
    def reply_headers(self) -> tuple[tuple[str, str], ...]:
        """For REST callers; Envoy drops the length of streams unless its Lua filter restores it."""
        headers = [("accept-ranges", "bytes"), ("etag", f'"{self._file.version}"')]
        if self._unchanged:
            return (*headers, (HTTP_STATUS, "304"))
        headers.append((STREAM_LENGTH, str(self.span.length)))
        if self.span.partial:
            last = self.span.offset + self.span.length - 1
            headers += [
                (HTTP_STATUS, "206"),
                ("content-range", f"bytes {self.span.offset}-{last}/{self._file.size}"),
            ]
        return tuple(headers)


def content_message(data: bytes) -> bytes:
    """A piece of a file, as a serialized HttpBody."""
    return serialized_body(_BINARY, data)


def _headers(context: Any) -> dict[str, str]:
    return {key: str(value) for key, value in context.invocation_metadata() or ()}


def _invalid(name: str, why: str, location: str = "query") -> InvalidArgument:
    return InvalidArgument(f"{name} {why}", (Field(location, name, why),))

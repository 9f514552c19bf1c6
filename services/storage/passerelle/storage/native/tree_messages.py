"""Conversion of pages, trees and quotas from and to messages."""

from collections.abc import Sequence
from typing import Any

from passerelle.runtime.errors import ApiError, Field, InvalidArgument
from passerelle.runtime.paging import Mark, mark_of, page_size, token_for
from passerelle.storage.native.file_messages import TYPES, file_message, progress_message
from passerelle.storage.paths import checked_path, shown
from passerelle.storage.systems import SystemContext
from passerelle.storage.values import FileInfo, Listing, Progress, Quota, Room, Usage, Walk
from passerelle.v1 import storage_pb2 as pb
from passerelle.v1.streams_pb2 import StreamError

_MOST_PATHS = 1000
_MOST_ENTRIES = 10_000  # a larger reply would hold up others; WalkFiles streams
_LONGEST_PATTERN = 255  # characters; no name is longer


def listing_of(request: pb.ListFilesRequest) -> Listing:
    """The listing for a page, with one more entry, which shows whether there is another page."""
    mark = mark_of(request)
    return Listing(
        hidden=request.show_hidden,
        recursive=request.recursive,
        dereference=request.dereference,
        pattern=_pattern(request),
        after=mark.key if mark else "",
        count=page_size(request, _MOST_ENTRIES) + 1,
    )


def page_message(request: pb.ListFilesRequest, files: Sequence[FileInfo]) -> pb.ListFilesResponse:
    """The page, and the token of the next one: the last name, since entries are sorted by name."""
    size = page_size(request, _MOST_ENTRIES)
    page = pb.ListFilesResponse(files=[file_message(info) for info in files[:size]])
    if len(files) > size:
        page.next_page_token = token_for(request, Mark(_exact_name(files[size - 1]), 0))
    return page


def _exact_name(info: FileInfo) -> str:
    return info.raw_name.decode("utf-8", "surrogateescape") if info.raw_name else info.name


def walk_of(request: pb.WalkFilesRequest) -> Walk:
    """The options of the requested walk."""
    _require(request.max_depth >= 0, "max_depth", "must not be negative")
    kinds = {number: kind for kind, number in TYPES.items()}
    violation = "must be types that a file can be of"
    _require(all(number in kinds for number in request.types), "types", violation)
    return Walk(
        hidden=request.show_hidden,
        dereference=request.dereference,
        pattern=_pattern(request),
        max_depth=request.max_depth,
        types=tuple(kinds[number] for number in request.types),
    )


def batch_message(files: Sequence[FileInfo]) -> pb.WalkFilesResponse:
    """The message for a batch of entries."""
    return pb.WalkFilesResponse(files=[file_message(info) for info in files])


def paths_of(system: SystemContext, request: pb.BatchStatFilesRequest) -> Sequence[str | ApiError]:
    """The requested paths, in order; an error for an invalid one."""
    paths = [*request.paths, *(raw.decode("utf-8", "surrogateescape") for raw in request.raw_paths)]
    _require(len(paths) <= _MOST_PATHS, "paths", f"must be at most {_MOST_PATHS}")
    return [_checked(system, path) for path in paths]


def _checked(system: SystemContext, path: str) -> str | ApiError:
    try:
        return checked_path(system.config, path)
    except InvalidArgument as error:
        return error


def answers_message(
    request: pb.BatchStatFilesRequest, answers: Sequence[FileInfo | ApiError]
) -> pb.BatchStatFilesResponse:
    """The reply, with one result for each requested path."""
    paths = [*request.paths, *(raw.decode("utf-8", "surrogateescape") for raw in request.raw_paths)]
    pairs = zip(paths, answers, strict=True)
    return pb.BatchStatFilesResponse(
        results=[_result(shown(path), answer) for path, answer in pairs]
    )


def _result(path: str, answer: FileInfo | ApiError) -> pb.FileOrError:
    if isinstance(answer, FileInfo):
        return pb.FileOrError(path=path, file=file_message(answer))
    error = StreamError(code=answer.http, reason=answer.reason, message=answer.detail)
    return pb.FileOrError(path=path, error=error)


def file_progress(progress: Progress[FileInfo] | Progress[None]) -> pb.FileProgress:
    """The progress of copying, moving or deleting, and at its end the resulting file, if any."""
    message = progress_message(progress)
    if progress.result:
        message.file.CopyFrom(file_message(progress.result))
    return message


def usage_progress(progress: Progress[Usage]) -> pb.FileProgress:
    """The progress of measuring, and at its end the usage of the tree."""
    message = progress_message(progress)
    if usage := progress.result:
        message.usage.entry_count = usage.entries
        message.usage.size_bytes = usage.size
        message.usage.allocated_bytes = usage.allocated
    return message


def quota_message(quota: Quota) -> pb.Quota:
    """The message for a quota."""
    user = None if quota.user is None else _room(quota.user)
    return pb.Quota(filesystem=_room(quota.filesystem), user=user)


def _room(room: Room) -> pb.Quota.Room:
    return pb.Quota.Room(
        used_bytes=room.used,
        limit_bytes=room.limit,
        soft_limit_bytes=room.soft_limit,
        used_file_count=room.files_used,
        file_count_limit=room.files_limit,
    )


def _pattern(request: Any) -> str:
    violation = f"must have at most {_LONGEST_PATTERN} characters"
    _require(len(request.pattern) <= _LONGEST_PATTERN, "pattern", violation)
    return str(request.pattern)


def _require(condition: bool, field: str, violation: str) -> None:
    if not condition:
        raise InvalidArgument(f"{field} {violation}", (Field("query", field, violation),))

"""Conversions that the native servicers share: files and progress as messages, and the paths of requests."""

import stat
from collections.abc import Mapping
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from passerelle.runtime.errors import Field, InvalidArgument
from passerelle.storage.paths import checked_path
from passerelle.storage.systems import C, SystemContext, Systems
from passerelle.storage.values import FileInfo, Progress
from passerelle.v1 import storage_pb2 as pb

TYPES: Mapping[int, "pb.File.Type.ValueType"] = {
    stat.S_IFREG: pb.File.REGULAR,
    stat.S_IFDIR: pb.File.DIRECTORY,
    stat.S_IFLNK: pb.File.SYMLINK,
    stat.S_IFIFO: pb.File.FIFO,
    stat.S_IFSOCK: pb.File.SOCKET,
    stat.S_IFCHR: pb.File.CHARACTER_DEVICE,
    stat.S_IFBLK: pb.File.BLOCK_DEVICE,
}
"""The types of files by the type bits of stat(2)'s `st_mode`."""


def target(systems: Systems[C], request: Any) -> tuple[C, str]:
    """The system that a request names in `system`, and the path on it that `path` or `raw_path` gives.

    A byte that is not UTF-8 is a lone surrogate in the path (PEP 383). NotFound for an unknown system; InvalidArgument
    for a path that is relative or outside of the system's filesystems as it is spelt.
    """
    system = systems.named(request.system)
    return system, path_in(system, request, "path")


def path_in(system: SystemContext, request: Any, name: str) -> str:
    """The path on `system` in the request's field `name` (`path`, `target`) or its `raw_` one; errors as `target`."""
    return checked_path(system.config, text_in(request, name), name)


def text_in(request: Any, name: str) -> str:
    """The text in the field `name` or its `raw_` one. Raises InvalidArgument when both are set."""
    raw: bytes = getattr(request, f"raw_{name}")
    text: str = getattr(request, name)
    if raw and text:
        violation = f"must not be given besides {name}"
        raise InvalidArgument(
            f"raw_{name} {violation}", (Field("query", f"raw_{name}", violation),)
        )
    return raw.decode("utf-8", "surrogateescape") if raw else text


def file_message(info: FileInfo) -> pb.File:
    """The message for a file's attributes."""
    return pb.File(
        name=info.name,
        raw_name=info.raw_name or b"",
        type=TYPES.get(stat.S_IFMT(info.mode), pb.File.TYPE_UNSPECIFIED),
        link_target=info.target or "",
        size_bytes=info.size,
        mode=info.mode,
        uid=info.uid,
        gid=info.gid,
        user=info.user,
        group=info.group,
        modify_time=_timestamp(info.mtime_ns),
        access_time=_timestamp(info.atime_ns),
        change_time=_timestamp(info.ctime_ns),
        inode=info.inode,
        device=info.device,
        link_count=info.links,
        etag=info.version,
    )


def progress_message(progress: Progress[Any]) -> pb.FileProgress:
    """The message for the progress of a long operation, without its result."""
    return pb.FileProgress(
        entries_done=progress.entries,
        bytes_done=progress.size,
        bytes_total=progress.total,
        finished=progress.finished,
    )


def _timestamp(nanoseconds: int) -> Timestamp:
    seconds, rest = divmod(nanoseconds, 10**9)
    return Timestamp(seconds=seconds, nanos=rest)

"""The operations on files by the remote helper, and the service's half of their wire format."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

import orjson

from passerelle.runtime.command import Output
from passerelle.runtime.errors import ApiError
from passerelle.storage.access.helper import RemoteHelper
from passerelle.storage.access.helper_errors import helper_error
from passerelle.storage.access.operations import (
    HeldFile,
    PackSource,
    Refusal,
    UnpackSource,
    UnpackTarget,
    WriteTarget,
)
from passerelle.storage.quota_output import user_room
from passerelle.storage.values import (
    EVERYTHING,
    Columns,
    Excerpt,
    FileInfo,
    Listing,
    Progress,
    Quota,
    Room,
    Row,
    Steps,
    Table,
    Usage,
    Walk,
    WriteConditions,
    Written,
)

T = TypeVar("T")


class HelperOperations:
    """`FileOperations` by a running helper. A stream raises DeadlineExceeded after `stall` seconds without data."""

    content_limit = 2 << 20  # as much as OpenSSH lets one channel send without being asked for more

    def __init__(self, helper: RemoteHelper, stall: float) -> None:
        self._helper = helper
        self._stall = stall

    async def stat(self, path: str, *, dereference: bool) -> FileInfo:
        """See `FileOperations.stat`."""
        arguments = {"path": path, "dereference": dereference, "columns": EVERYTHING}
        return _file(await self._helper.call("stat", arguments))

    async def row(self, path: str, columns: Columns, *, dereference: bool) -> Row:
        """See `FileOperations.row`."""
        arguments = {"path": path, "dereference": dereference, "columns": columns}
        return Row(await self._helper.call("row", arguments))

    async def stat_many(
        self, paths: Sequence[str], *, dereference: bool
    ) -> Sequence[FileInfo | ApiError]:
        """See `FileOperations.stat_many`."""
        arguments = {"paths": list(paths), "dereference": dereference, "columns": EVERYTHING}
        answer = await self._helper.call("stat_many", arguments)
        return [self._file_or_error(orjson.loads(line)) for line in answer.splitlines()]

    def _file_or_error(self, answer: Mapping[str, Mapping[str, Any]]) -> FileInfo | ApiError:
        if "failure" in answer:
            return helper_error(answer["failure"], self._helper.system)
        return FileInfo(**answer["file"])

    async def list(self, path: str, listing: Listing, limit: int) -> Sequence[FileInfo]:
        """See `FileOperations.list`."""
        return _files(await self._helper.call("list", _listed(path, listing, EVERYTHING, limit)))

    async def table(self, path: str, listing: Listing, columns: Columns, limit: int) -> Table:
        """See `FileOperations.table`."""
        return Table(await self._helper.call("table", _listed(path, listing, columns, limit)))

    async def walk(self, path: str, walk: Walk) -> AsyncGenerator[Sequence[FileInfo], None]:
        """See `FileOperations.walk`."""
        arguments = {
            "path": path,
            "columns": EVERYTHING,
            "hidden": walk.hidden,
            "dereference": walk.dereference,
            "pattern": walk.pattern,
            "max_depth": walk.max_depth,
            "types": walk.types,
        }
        async with aclosing(self._helper.stream("walk", arguments, self._stall)) as pieces:
            async for piece in pieces:
                yield _files(piece)

    async def read(self, path: str, offset: int, length: int, limit: int | None) -> bytes:
        """See `FileOperations.read`."""
        arguments = {"path": path, "offset": offset, "length": length, "limit": limit}
        return await self._helper.call("read", arguments)

    async def excerpt(self, path: str, excerpt: Excerpt, limit: int) -> bytes:
        """See `FileOperations.excerpt`."""
        arguments = {
            "path": path,
            "unit": excerpt.unit,
            "count": excerpt.count,
            "from_end": excerpt.from_end,
            "before": excerpt.before,
            "limit": limit,
        }
        return await self._helper.call("excerpt", arguments)

    @asynccontextmanager
    async def hold(self, path: str) -> AsyncIterator[HeldFile]:
        """See `FileOperations.hold`."""
        arguments = {"path": path, "columns": EVERYTHING}
        async with aclosing(self._helper.stream("hold", arguments, self._stall)) as pieces:
            held = orjson.loads(await anext(pieces))
            yield HeldFile(FileInfo(**held["file"]), held["at"])

    def checksum(self, path: str, algorithm: str) -> Steps[str]:
        """See `FileOperations.checksum`."""
        return self._steps("checksum", {"path": path, "algorithm": algorithm}, str)

    def measure(self, path: str) -> Steps[Usage]:
        """See `FileOperations.measure`."""
        return self._steps("measure", {"path": path}, lambda result: Usage(**result))

    async def quota(self, path: str) -> Quota:
        """See `FileOperations.quota`."""
        answer = orjson.loads(await self._helper.call("quota", {"path": path}))
        return Quota(Room(**answer["room"]), user_room(answer["quota_output"]))

    async def make_directory(self, path: str, *, parents: bool) -> FileInfo:
        """See `FileOperations.make_directory`."""
        arguments = {"path": path, "parents": parents, "columns": EVERYTHING}
        return _file(await self._helper.call("make_directory", arguments))

    async def make_symlink(self, path: str, target: str) -> None:
        """See `FileOperations.make_symlink`."""
        await self._helper.call("make_symlink", {"path": path, "target": target})

    async def run_program(self, path: str, argv: Sequence[str], *, dereference: bool) -> Output:
        """See `FileOperations.run_program`."""
        arguments = {"path": path, "argv": list(argv), "dereference": dereference}
        return Output(*orjson.loads(await self._helper.call("run_program", arguments)))

    def copy(
        self, path: str, target: str, *, overwrite: bool, dereference: bool
    ) -> Steps[FileInfo]:
        """See `FileOperations.copy`."""
        arguments = {
            "path": path,
            "target": target,
            "overwrite": overwrite,
            "dereference": dereference,
            "columns": EVERYTHING,
        }
        return self._steps("copy", arguments, lambda result: FileInfo(**result))

    def move(self, path: str, target: str, *, overwrite: bool) -> Steps[FileInfo]:
        """See `FileOperations.move`."""
        arguments = {"path": path, "target": target, "overwrite": overwrite, "columns": EVERYTHING}
        return self._steps("move", arguments, lambda result: FileInfo(**result))

    def remove(self, path: str) -> Steps[None]:
        """See `FileOperations.remove`."""
        return self._steps("remove", {"path": path}, _nothing)

    async def write_target(self, path: str) -> WriteTarget:
        """See `FileOperations.write_target`."""
        return WriteTarget(**json.loads(await self._helper.call("write_target", {"path": path})))

    async def begin_part(self, path: str, part: str, stale: float) -> None:
        """See `FileOperations.begin_part`."""
        await self._helper.call("begin_part", {"path": path, "part": part, "stale": stale})

    def place_part(
        self, path: str, part: str, size: int, conditions: WriteConditions
    ) -> Steps[str | Refusal]:
        """See `FileOperations.place_part`."""
        arguments = {
            "path": path,
            "part": part,
            "size": size,
            "sha256": conditions.sha256,
            "mode": conditions.mode.value,
            "if_match": conditions.if_match,
        }
        return self._steps("place_part", arguments, _version_or_refusal)

    async def write_file(
        self, path: str, content: bytes, conditions: WriteConditions, *, digest: bool = True
    ) -> Written | Refusal:
        """See `FileOperations.write_file`."""
        arguments = {
            "path": path,
            "sha256": conditions.sha256,
            "mode": conditions.mode.value,
            "if_match": conditions.if_match,
            "digest": digest,
        }
        result = orjson.loads(await self._helper.call("write_file", arguments, content))
        return Refusal(**result) if "mismatch" in result else Written(**result)

    async def settled_size(self, part: str) -> int:
        """See `FileOperations.settled_size`."""
        return int(await self._helper.call("settled_size", {"part": part}))

    async def make_part(self, part: str) -> None:
        """See `FileOperations.make_part`."""
        await self._helper.call("make_part", {"part": part})

    async def write_part(self, part: str, offset: int, content: bytes) -> None:
        """See `FileOperations.write_part`."""
        await self._helper.call("write_part", {"part": part, "offset": offset}, content)

    async def truncate_part(self, part: str, size: int) -> None:
        """See `FileOperations.truncate_part`."""
        await self._helper.call("truncate_part", {"part": part, "size": size})

    async def remove_part(self, part: str) -> None:
        """See `FileOperations.remove_part`."""
        await self._helper.call("remove_part", {"part": part})

    async def pack_source(self, path: str, *, dereference: bool) -> PackSource:
        """See `FileOperations.pack_source`."""
        arguments = {"path": path, "dereference": dereference}
        return PackSource(**json.loads(await self._helper.call("pack_source", arguments)))

    async def unpack_source(self, path: str) -> UnpackSource:
        """See `FileOperations.unpack_source`."""
        return UnpackSource(**json.loads(await self._helper.call("unpack_source", {"path": path})))

    async def unpack_target(self, path: str) -> UnpackTarget:
        """See `FileOperations.unpack_target`."""
        return UnpackTarget(**json.loads(await self._helper.call("unpack_target", {"path": path})))

    def place_tree(self, path: str, part: str, *, overwrite: bool, any_links: bool) -> Steps[None]:
        """See `FileOperations.place_tree`."""
        arguments = {"path": path, "part": part, "overwrite": overwrite, "any_links": any_links}
        return self._steps("place_tree", arguments, _nothing)

    async def _steps(
        self, operation: str, arguments: dict[str, Any], result: Callable[[Any], T]
    ) -> Steps[T]:
        """A long operation; the helper sends its steps with `Call.advance` and `Call.result`."""
        async with aclosing(self._helper.stream(operation, arguments, self._stall)) as pieces:
            async for piece in pieces:
                step = orjson.loads(piece)
                ended = "result" in step
                value = result(step["result"]) if ended else None
                yield Progress(step["entries"], step["size"], step["total"], value, ended)


def _listed(path: str, listing: Listing, columns: Columns, limit: int) -> dict[str, Any]:
    return {
        "path": path,
        "columns": columns,
        "hidden": listing.hidden,
        "recursive": listing.recursive,
        "dereference": listing.dereference,
        "pattern": listing.pattern,
        "after": listing.after,
        "count": listing.count,
        "limit": limit,
    }


def _file(answer: bytes) -> FileInfo:
    return FileInfo(**orjson.loads(answer))


def _files(answer: bytes) -> Sequence[FileInfo]:
    return [FileInfo(**row) for row in orjson.loads(answer)]


def _nothing(result: None) -> None:
    return result


def _version_or_refusal(result: Mapping[str, str]) -> str | Refusal:
    if "mismatch" in result:
        return Refusal(result["mismatch"], result["actual"])  # type: ignore[arg-type]  # one of the literals
    return result["version"]

"""FirecREST v2 `/filesystem/{system}/ops`: file operations with FirecREST's names, statuses and wording.

The rules are from its contract and recorded replies; docs/firecrest-profile.md lists deliberate differences.
"""

import posixpath
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from google.api.httpbody_pb2 import HttpBody

from passerelle.firecrest.v2 import filesystem_pb2 as pb
from passerelle.firecrest.v2 import filesystem_pb2_grpc as pb_grpc
from passerelle.runtime import log_fields
from passerelle.runtime.config.site import System
from passerelle.runtime.errors import InvalidArgument
from passerelle.runtime.surface import Operation
from passerelle.storage.files.attributes import Attributes
from passerelle.storage.files.checksums import Checksums
from passerelle.storage.files.downloads import Downloads
from passerelle.storage.files.port import Files
from passerelle.storage.files.tarballs import Tarball, Tarballs
from passerelle.storage.firecrest.form import FormFile
from passerelle.storage.firecrest.gnu_wording import errors_of, failure
from passerelle.storage.firecrest.ops_bodies import (
    AmountQuery,
    ChangeModeBody,
    ChangeOwnerBody,
    CompressBody,
    ExtractBody,
    HeadQuery,
    ListQuery,
    MakeDirectoryBody,
    MakeSymlinkBody,
    StatQuery,
    TailQuery,
    ViewQuery,
    target_and_body,
)
from passerelle.storage.firecrest.ops_replies import (
    ChangedFileReply,
    ChecksumFields,
    ChecksumReply,
    ContentFields,
    ContentReply,
    FileTypeReply,
    ListReply,
    StatReply,
    ViewReply,
)
from passerelle.storage.firecrest.paths import checked_path
from passerelle.storage.reply_content import serialized_body
from passerelle.storage.request_content import pieces
from passerelle.storage.systems import SystemsServicer
from passerelle.storage.values import Columns, Excerpt, FileInfo, Listing
from passerelle.surfaces.firecrest.bodies import read_query
from passerelle.surfaces.firecrest.replies import json_reply, set_status

_COLUMNS: Columns = (
    ("name", "name"),
    ("type", "letter"),
    ("linkTarget", "target"),
    ("user", "user"),
    ("group", "group"),
    ("permissions", "permissions"),
    ("lastModified", "local_time"),
    ("size", "size_text"),
)
_STAT: Columns = (
    ("mode", "mode"),
    ("ino", "inode"),
    ("dev", "device"),
    ("nlink", "links"),
    ("uid", "uid"),
    ("gid", "gid"),
    ("size", "size"),
    ("atime", "atime"),
    ("ctime", "ctime"),
    ("mtime", "mtime"),
)
"""The columns of StatFields."""
_NUMERIC: Mapping[str, str] = {"user": "uid_text", "group": "gid_text"}
_NUMERIC_COLUMNS: Columns = tuple((key, _NUMERIC.get(field, field)) for key, field in _COLUMNS)

OPENAPI: Mapping[str, Operation] = {
    "List": Operation(query=ListQuery, replies={200: ListReply}),
    "Stat": Operation(query=StatQuery, replies={200: StatReply}),
    "Head": Operation(query=HeadQuery, replies={200: ContentReply}),
    "Tail": Operation(query=TailQuery, replies={200: ContentReply}),
    "View": Operation(query=ViewQuery, replies={200: ViewReply}),
    "MakeDirectory": Operation(body=MakeDirectoryBody, replies={201: ChangedFileReply}),
    "Remove": Operation(replies={204: None}),
    "Download": Operation(replies={200: bytes}),
    "Upload": Operation(replies={204: None}, multipart=True),
    "Checksum": Operation(replies={200: ChecksumReply}),
    "FileType": Operation(replies={200: FileTypeReply}),
    "Compress": Operation(body=CompressBody, replies={204: None}),
    "Extract": Operation(body=ExtractBody, replies={204: None}),
    "ChangeMode": Operation(body=ChangeModeBody, replies={200: ChangedFileReply}),
    "ChangeOwner": Operation(body=ChangeOwnerBody, replies={200: ChangedFileReply}),
    "MakeSymlink": Operation(body=MakeSymlinkBody, replies={201: ChangedFileReply}),
}


@dataclass(frozen=True)
class FilesystemContext:
    """A system, and its parts for file operations."""

    config: System
    files: Files
    downloads: Downloads
    attributes: Attributes
    checksums: Checksums
    tarballs: Tarballs


class FilesystemService(SystemsServicer[FilesystemContext], pb_grpc.FilesystemServiceServicer):
    """The profile's file operations."""

    async def List(self, request: pb.ListRequest, context: Any) -> HttpBody:
        """`ls`: the helper's JSON goes out as it came."""
        system, path = self._target(request, keep_slash=True)
        query = read_query(ListQuery, request)
        listing = Listing(query.show_hidden, query.recursive, query.dereference)
        columns = _NUMERIC_COLUMNS if query.numeric_uid else _COLUMNS
        with errors_of("ls", path):
            table = await system.files.table(path, listing, columns)
        return _output(table)

    async def Stat(self, request: pb.StatRequest, context: Any) -> HttpBody:
        """`stat`: the helper's JSON goes out as it came."""
        system, path = self._target(request, keep_slash=True)
        query = read_query(StatQuery, request)
        with errors_of("stat", path):
            row = await system.files.row(path, _STAT, dereference=query.dereference)
        return _output(row)

    async def Head(self, request: pb.HeadRequest, context: Any) -> HttpBody:
        """`head`."""
        system, path = self._target(request)
        query = read_query(HeadQuery, request)
        unit, number = _amount(query, "head", "-" if query.skip_trailing else "")
        from_end = number < 0 or (query.skip_trailing and query.has_number())
        excerpt = Excerpt(unit, abs(number), from_end=from_end, before=True)
        end = query.position(-1 if query.skip_trailing else 1)
        return await _excerpted(system, path, "head", excerpt, start=0, end=end)

    async def Tail(self, request: pb.TailRequest, context: Any) -> HttpBody:
        """`tail`; with `skipHeading` from that line or byte on, counted from 1."""
        system, path = self._target(request)
        query = read_query(TailQuery, request)
        unit, number = _amount(query, "tail", "+" if query.skip_heading else "")
        from_start = query.skip_heading and query.has_number()
        count = number - 1 if from_start else abs(number)
        excerpt = Excerpt(unit, count, from_end=not from_start, before=False)
        start = query.position(1 if query.skip_heading else -1)
        return await _excerpted(system, path, "tail", excerpt, start=start, end=-1)

    async def View(self, request: pb.ViewRequest, context: Any) -> HttpBody:
        """`dd`, as FirecREST calls it: blocks of `size` bytes are read from the one that holds byte `offset` on, two of
        them, and of their *characters* `size` are taken, from `offset` less the block's begin on."""
        system, path = self._target(request)
        size, offset = read_query(ViewQuery, request).checked(_limit(system))
        skipped = offset % size
        with errors_of("dd", path):
            content = await system.files.read(path, offset - skipped, 2 * size)
        text = content.decode(errors="replace")[skipped : skipped + size]
        return json_reply(ViewReply(output=text))

    async def MakeDirectory(self, request: pb.BodyRequest, context: Any) -> HttpBody:
        """`mkdir`."""
        system, path, body = target_and_body(self._systems, MakeDirectoryBody, request)
        with errors_of("mkdir", path):
            made = await system.files.make_directory(path, parents=body.parent)
        await set_status(context, 201)
        return json_reply(_changed(made))

    async def Remove(self, request: pb.PathRequest, context: Any) -> HttpBody:
        """`rm -r`."""
        system, path = self._target(request)
        with errors_of("rm", path):
            await system.files.remove(path)
        await set_status(context, 204)
        return HttpBody()

    async def Download(self, request: pb.PathRequest, context: Any) -> bytes:
        """A small file's bytes, as a serialized HttpBody: the message itself would copy them several times."""
        system, path = self._target(request)
        limit = _limit(system)
        with errors_of("base64", path, too_large="File to download is too large."):
            content = await system.downloads.read(path, limit)
        return serialized_body("application/octet-stream", content)

    async def Upload(self, requests: AsyncIterator[pb.UploadRequest], context: Any) -> HttpBody:
        """A small file, from a form into a directory."""
        first = await anext(requests)
        system, directory = self._target(first)
        content = pieces(first.content.data, requests)
        form = FormFile(first.content.content_type, content, _limit(system))
        del first
        path = posixpath.join(directory, await form.name())
        log_fields.note(path=path)
        with errors_of("bash", path):
            await system.files.write(path, form.content(), cut_off_raises=True, digest=False)
        await set_status(context, 204)
        return HttpBody()

    async def Checksum(self, request: pb.PathRequest, context: Any) -> HttpBody:
        """`sha256sum`."""
        system, path = self._target(request)
        with errors_of("sha256sum", path):
            checksum = await system.checksums.sha256(path)
        fields = ChecksumFields(algorithm="SHA256", checksum=checksum)
        return json_reply(ChecksumReply(output=fields))

    async def FileType(self, request: pb.PathRequest, context: Any) -> HttpBody:
        """`file`, which describes a missing file, too, instead of failing."""
        system, path = self._target(request)
        with errors_of("file", path):
            return json_reply(FileTypeReply(output=await system.attributes.kind(path)))

    async def ChangeMode(self, request: pb.BodyRequest, context: Any) -> HttpBody:
        """`chmod`; of a link the target is changed, but the reply has the link itself."""
        system, path, body = target_and_body(self._systems, ChangeModeBody, request)
        with errors_of("chmod", path):
            await system.attributes.change_mode(path, body.mode)
            return json_reply(_changed(await system.files.stat(path)))

    async def ChangeOwner(self, request: pb.BodyRequest, context: Any) -> HttpBody:
        """`chown`; of a link the target is changed, but the reply has the link itself."""
        system, path, body = target_and_body(self._systems, ChangeOwnerBody, request)
        with errors_of("chown", path):
            await system.attributes.change_owner(path, body.owner or "", body.group or "")
            return json_reply(_changed(await system.files.stat(path)))

    async def MakeSymlink(self, request: pb.BodyRequest, context: Any) -> HttpBody:
        """`ln -s`; the link, too, has to be inside the filesystems."""
        system, target, body = target_and_body(self._systems, MakeSymlinkBody, request)
        path = checked_path(system.config, body.link_path)
        with errors_of("ln", path):
            await system.attributes.make_symlink(path, target)
            made = await system.files.stat(path)
        await set_status(context, 201)
        return json_reply(_changed(made))

    async def Compress(self, request: pb.BodyRequest, context: Any) -> HttpBody:
        """`tar -c`."""
        system, path, body = target_and_body(self._systems, CompressBody, request)
        target = checked_path(system.config, body.target_path)
        tarball = Tarball(path, body.compression, body.dereference, body.match_pattern)
        with errors_of("tar", path):
            await system.tarballs.compress(tarball, target)
        await set_status(context, 204)
        return HttpBody()

    async def Extract(self, request: pb.BodyRequest, context: Any) -> HttpBody:
        """`tar -x`."""
        system, path, body = target_and_body(self._systems, ExtractBody, request)
        target = checked_path(system.config, body.target_path)
        with errors_of("tar", path):
            await system.tarballs.extract(path, target, body.compression)
        await set_status(context, 204)
        return HttpBody()

    def _target(self, request: Any, *, keep_slash: bool = False) -> tuple[FilesystemContext, str]:
        """The request's system and path. `keep_slash` keeps a final slash, which follows a link to a directory."""
        system = self._systems.named(request.system)
        given = request.path if request.HasField("path") else None
        path = checked_path(system.config, given)
        slash = "/" if keep_slash and given and given.endswith("/") and path != "/" else ""
        return system, path + slash


def _output(json: bytes) -> HttpBody:
    """The reply whose `output` is this JSON."""
    return HttpBody(content_type="application/json", data=b'{"output":%b}' % json)


def _limit(system: FilesystemContext) -> int:
    return system.config.data_operation.max_ops_file_size


def _changed(info: FileInfo) -> dict[str, dict[str, Any]]:
    """A ChangedFileReply, with the columns of a listing."""
    return {"output": {key: getattr(info, field) for key, field in _COLUMNS}}


def _amount(query: AmountQuery, program: str, sign: str) -> tuple[Literal["lines", "bytes"], int]:
    """The requested unit and number. Raises the error of `program` for a negative number after a `sign`."""
    unit, number = query.amount()
    if sign and number < 0:
        raise failure(program, f"invalid number of {unit}: '{sign}{number}'", InvalidArgument)
    return unit, number


async def _excerpted(
    system: FilesystemContext, path: str, program: str, excerpt: Excerpt, *, start: int, end: int
) -> HttpBody:
    with errors_of(program, path):
        content = await system.files.excerpt(path, excerpt, _limit(system))
    fields = ContentFields(
        content=content.decode(errors="replace"),
        contentType=excerpt.unit,
        startPosition=start,
        endPosition=end,
    )
    return json_reply(ContentReply(output=fields))

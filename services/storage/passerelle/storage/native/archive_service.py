"""The native `ReadArchive` and `WriteArchive`: converts, calls, converts."""

import posixpath
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from passerelle.runtime.config.site import System
from passerelle.storage.files.archives import TAR, TAR_GZ, TAR_ZST, Archives, Format, Selection
from passerelle.storage.files.downloads import Downloads
from passerelle.storage.native.file_messages import target
from passerelle.storage.paths import shown
from passerelle.storage.reply_content import serialized_body
from passerelle.storage.request_content import pieces
from passerelle.storage.systems import Systems
from passerelle.v1 import storage_pb2 as pb


@dataclass(frozen=True)
class ArchiveContext:
    """A system, its archives, and its downloads."""

    config: System
    archives: Archives
    downloads: Downloads


_FORMATS: Mapping[int, Format] = {pb.TAR: TAR, pb.TAR_GZ: TAR_GZ, pb.TAR_ZST: TAR_ZST}
_UNSAFE = re.compile(r"[^A-Za-z0-9 !#$&+,.^_`{}~()@=\[\]-]")


async def read_archive(
    systems: Systems[ArchiveContext], request: pb.ReadArchiveRequest, context: Any
) -> AsyncIterator[bytes]:
    """A directory as an archive, in serialized HttpBody messages."""
    system, path = target(systems, request)
    packing = _FORMATS.get(request.format, TAR_GZ)
    selection = Selection(request.dereference, request.pattern)
    async with aclosing(system.downloads.packed(path, packing, selection)) as packed:
        first = await anext(packed)
        # Only now: after initial metadata no error reaches a REST caller.
        name = (posixpath.basename(path) or "root") + packing.suffix
        await context.send_initial_metadata((("content-disposition", attachment(name)),))
        yield serialized_body(packing.media_type, first)
        async for piece in packed:
            yield serialized_body(packing.media_type, piece)


async def write_archive(
    systems: Systems[ArchiveContext], requests: AsyncIterator[pb.WriteArchiveRequest]
) -> pb.WriteArchiveResponse:
    """A directory from an archive."""
    first = await anext(requests)
    system, path = target(systems, first)
    packing = _FORMATS.get(first.format, TAR_GZ)
    overwrite, content = first.overwrite, pieces(first.content.data, requests)
    del first
    entries = await system.archives.unpack(path, packing, content, overwrite=overwrite)
    return pb.WriteArchiveResponse(path=shown(path), entry_count=entries)


def attachment(name: str) -> str:
    """`Content-Disposition` for a file to be saved under a name (RFC 6266; RFC 8187 where the name is not plain)."""
    plain = _UNSAFE.sub("_", name)
    if plain == name:
        return f'attachment; filename="{name}"'
    exact = quote(shown(name), safe="")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}"

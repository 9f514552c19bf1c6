"""The queries and bodies of FirecREST v2's file operations, in all their spellings."""

import json
from typing import Annotated, Any, Literal, TypeVar

from google.api.httpbody_pb2 import HttpBody
from pydantic import Field

from passerelle.firecrest.v2.filesystem_pb2 import BodyRequest
from passerelle.runtime.errors import InvalidArgument
from passerelle.storage.firecrest.paths import checked_path
from passerelle.storage.systems import C, Systems
from passerelle.surfaces.firecrest.bodies import SOURCE_PATH, Model, Text, json_of, read_body

Compression = Literal["none", "bzip2", "gzip", "xz"]
Number = Annotated[int, Field(gt=-(2**63), lt=2**63)]


class ListQuery(Model):
    """The options of `ls`."""

    show_hidden: bool = False
    numeric_uid: bool = False
    recursive: bool = False
    dereference: bool = False


class StatQuery(Model):
    """The options of `stat`."""

    dereference: bool = False


class AmountQuery(Model):
    """A number of bytes or of lines; 0 is the same as none."""

    amount_bytes: Number | None = Field(default=None, alias="bytes")
    lines: Number | None = None

    def has_number(self) -> bool:
        """Whether the query names a number other than 0."""
        return bool(self.amount_bytes or self.lines)

    def amount(self) -> tuple[Literal["lines", "bytes"], int]:
        """The unit and the number, ten lines by default. Raises InvalidArgument when both are set."""
        if self.amount_bytes and self.lines:
            raise InvalidArgument("Only one of `bytes` or `lines` can be specified.")
        if self.amount_bytes:
            return "bytes", self.amount_bytes
        return "lines", self.lines or 10

    def position(self, sign: int) -> int:
        """The position in a reply: the number as requested, 10 by default, times `sign`."""
        if self.lines is not None:
            return sign * self.lines
        return 10 if self.amount_bytes is None else sign * self.amount_bytes


class HeadQuery(AmountQuery):
    """The size of a file's beginning."""

    skip_trailing: bool = False


class TailQuery(AmountQuery):
    """The size of a file's end."""

    skip_heading: bool = False


class ViewQuery(Model):
    """A part of a file; of the largest allowed size without `size`."""

    size: Number | None = None
    offset: Number = 0

    def checked(self, limit: int) -> tuple[int, int]:
        """Size and offset in bytes. Raises InvalidArgument for invalid numbers, or a size above `limit`."""
        size = limit if self.size is None else self.size
        if self.offset < 0:
            raise InvalidArgument("`offset` value must be an integer value equal or greater than 0")
        if size <= 0:
            raise InvalidArgument("`size` value must be an integer value greater than 0")
        if size > limit:
            raise InvalidArgument(f"`size` value must be less than {limit} bytes")
        return size, self.offset


class PathBody(Model):
    """The member of all bodies: the path of the file."""

    path: Text = Field(validation_alias=SOURCE_PATH)


class MakeDirectoryBody(PathBody):
    """A directory to make."""

    parent: bool = False


class ChangeModeBody(PathBody):
    """A file's new mode, as for chmod(1)."""

    mode: Text


class ChangeOwnerBody(PathBody):
    """A file's new owner and group: names or numbers, empty or null to leave them as they are."""

    owner: Text | None = None
    group: Text | None = None


class TargetBody(PathBody):
    """A source and a target."""

    target_path: Text


class CompressBody(TargetBody):
    """An archive to make; `matchPattern` is a regular expression of find(1) for the paths of files."""

    match_pattern: Text | None = None
    dereference: bool = False
    compression: Compression = "gzip"


class ExtractBody(TargetBody):
    """An archive to unpack into the directory `targetPath`."""

    compression: Compression = "gzip"


class MakeSymlinkBody(PathBody):
    """A link to make at `linkPath`; `path` is its target."""

    link_path: Text


B = TypeVar("B", bound=PathBody)


def target_and_body(systems: Systems[C], model: type[B], request: BodyRequest) -> tuple[C, str, B]:
    """A request's system, path and body, checked in FirecREST's order. Raises NotFound and InvalidArgument."""
    system = systems.named(request.system)
    path = checked_path(system.config, _path_in(request.body))
    return system, path, read_body(model, request.body)


def _path_in(body: HttpBody) -> str | None:
    """The path in a JSON body, which is checked before the whole body; None without one."""
    try:
        data: Any = json_of(body) if body.data else None
    except json.JSONDecodeError:
        read_body(PathBody, body)  # raises the error
        raise
    keys = [key for key in SOURCE_PATH.choices if isinstance(data, dict) and key in data]
    given = data[keys[0]] if keys else ""
    if given is None:
        raise InvalidArgument("All filesystem requests require a path or source_path parameter.")
    return given if keys and isinstance(given, str) else None

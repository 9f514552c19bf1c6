"""What can be done with the files of one system: one method an operation.

The remote helper answers them (`helper_operations.py`), or plain commands where no helper can run (`commands/`).
The helper registers a function for each (`remote/registry.py`), under the name of its method.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from passerelle.runtime.command import Output
from passerelle.runtime.errors import ApiError
from passerelle.storage.values import (
    Columns,
    Excerpt,
    FileInfo,
    Listing,
    Quota,
    Row,
    Steps,
    Table,
    Usage,
    Walk,
    WriteConditions,
    Written,
)


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A regular file that is held open on the system: what is known about it, and where it can be opened, if anywhere:
    a path that leads to this very file, whatever becomes of its own one; or empty."""

    info: FileInfo
    at: str


@dataclass(frozen=True, slots=True)
class WriteTarget:
    """Where writing to a path writes: the path without links, and the version of the file there, None for none."""

    real: str
    version: str | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a part was not placed: its size, its checksum or the version of the existing file did not match."""

    mismatch: Literal["size", "sha256", "version"]
    actual: str
    """Its value: bytes, lower-case hexadecimal, or an ETag (empty where there is no file)."""


@dataclass(frozen=True, slots=True)
class PackSource:
    """What is packed: its path without links, that of the directory which its path names it in, and whether it is a
    directory itself."""

    real: str
    parent: str
    directory: bool


@dataclass(frozen=True, slots=True)
class UnpackSource:
    """An archive that is unpacked: its path without links, and whether it is a plain tar archive without its end."""

    real: str
    truncated: bool


@dataclass(frozen=True, slots=True)
class UnpackTarget:
    """The directory that an archive is unpacked into: its path without links, and whether it exists."""

    real: str
    exists: bool


class FileOperations(Protocol):
    """The files of one system, over one connection of one user.

    Paths are absolute; a byte of one that is not UTF-8 is a lone surrogate (PEP 383). Sizes and offsets are in bytes.
    Every method raises FileError for what the system refuses, Outside for a path that leads out of its filesystems,
    Unsupported for what takes a helper or a program that the system lacks, ConnectionFailed when the connection is
    lost, DeadlineExceeded for a stream that brings nothing for too long. Cancelling a call, or closing an iterator,
    ends the work on the system.
    """

    content_limit: int
    """How many bytes of content `write_file` takes; with 0, content goes by the content channel alone."""

    async def stat(self, path: str, *, dereference: bool) -> FileInfo:
        """What is known about a file; `dereference` follows a final link."""
        ...

    async def row(self, path: str, columns: Columns, *, dereference: bool) -> Row:
        """The same with these columns, as it comes."""
        ...

    async def stat_many(
        self, paths: Sequence[str], *, dereference: bool
    ) -> Sequence[FileInfo | ApiError]:
        """What is known about each file, or why nothing is."""
        ...

    async def list(self, path: str, listing: Listing, limit: int) -> Sequence[FileInfo]:
        """A directory's entries in byte order, or the one file that `path` is; FileError (EFBIG) for an answer of more
        than `limit` bytes."""
        ...

    async def table(self, path: str, listing: Listing, columns: Columns, limit: int) -> Table:
        """The same with these columns, as it comes."""
        ...

    def walk(self, path: str, walk: Walk) -> AsyncGenerator[Sequence[FileInfo], None]:
        """What is in a tree, in batches as it is found, some of which may be empty; names are relative to `path`.

        Directories that cannot be read are passed by, and the first such error is raised at the end.
        """
        ...

    async def read(self, path: str, offset: int, length: int, limit: int | None) -> bytes:
        """At most `length` bytes from `offset` on; FileError (EFBIG) for a file of more than `limit` bytes."""
        ...

    async def excerpt(self, path: str, excerpt: Excerpt, limit: int) -> bytes:
        """A piece of a file; FileError (EFBIG) when it has more than `limit` bytes."""
        ...

    def hold(self, path: str) -> AbstractAsyncContextManager[HeldFile]:
        """A regular file, held open inside the block where that can be done."""
        ...

    def checksum(self, path: str, algorithm: str) -> Steps[str]:
        """The checksum in hexadecimal; `algorithm` is a name that both `hashlib` and coreutils' `NAMEsum` have."""
        ...

    def measure(self, path: str) -> Steps[Usage]:
        """What a tree takes; a file of many names counts once."""
        ...

    async def quota(self, path: str) -> Quota:
        """How much room there is on the filesystem of `path`."""
        ...

    async def make_directory(self, path: str, *, parents: bool) -> FileInfo:
        """Make a directory; what is known about it. `parents` makes those above it, and accepts one that exists."""
        ...

    async def make_symlink(self, path: str, target: str) -> None:
        """Make a link at `path` that says `target`, which must lead into the filesystems."""
        ...

    async def run_program(self, path: str, argv: Sequence[str], *, dereference: bool) -> Output:
        """Run `argv` with `path` as its last argument. `dereference` says whether the program follows a final link."""
        ...

    def copy(
        self, path: str, target: str, *, overwrite: bool, dereference: bool
    ) -> Steps[FileInfo]:
        """Copy a file or a tree with modes and times, whole or not at all; what is known about the copy.

        With `overwrite` a file takes the place of a file, and a directory is copied into a directory that is there.
        Raises FileError with the step `itself` for a directory that would be copied into itself.
        """
        ...

    def move(self, path: str, target: str, *, overwrite: bool) -> Steps[FileInfo]:
        """Rename, or between two filesystems copy and remove; what is known about it then. Raises as `copy`."""
        ...

    def remove(self, path: str) -> Steps[None]:
        """Remove a file, a link itself, or a directory with all that is in it."""
        ...

    async def write_target(self, path: str) -> WriteTarget:
        """Where writing to `path` writes; FileError unless that is a regular file that may be replaced, or one that can
        be made."""
        ...

    async def begin_part(self, path: str, part: str, stale: float) -> None:
        """Make the empty `part` beside `path`, which has no links in it, readable by its user alone; remove the user's
        parts in the same directory that nobody has touched for `stale` seconds."""
        ...

    def place_part(
        self, path: str, part: str, size: int, conditions: WriteConditions
    ) -> Steps[str | Refusal]:
        """Put the part of `size` bytes in the place of `path`, which has no links in it, or add it to its end: whole or
        not at all. The version of the file then, or why nothing was done.

        Raises FileError with the step `part` when there is no part, with the step `busy` when another call has it.
        """
        ...

    async def write_file(
        self, path: str, content: bytes, conditions: WriteConditions
    ) -> Written | Refusal:
        """Write a file, or add to its end: whole or not at all. What was written, or why nothing was done.

        At most `content_limit` bytes of content.
        """
        ...

    async def settled_size(self, part: str) -> int:
        """How many bytes have arrived in a part, when no receiver of an earlier call writes to it any more."""
        ...

    async def make_part(self, part: str) -> None:
        """Make an empty file that only its user can read; FileError (EEXIST) when something is there."""
        ...

    async def write_part(self, part: str, offset: int, content: bytes) -> None:
        """Write all of `content` at `offset`."""
        ...

    async def truncate_part(self, part: str, size: int) -> None:
        """Give up what lies behind `size`."""
        ...

    async def remove_part(self, part: str) -> None:
        """Remove the file, if it is there."""
        ...

    async def pack_source(self, path: str, *, dereference: bool) -> PackSource:
        """What packing `path`, a regular file or a directory, packs. With `dereference` that is also what links in it
        lead to, which must be inside the filesystems."""
        ...

    async def unpack_source(self, path: str) -> UnpackSource:
        """The archive that unpacking `path` unpacks."""
        ...

    async def unpack_target(self, path: str) -> UnpackTarget:
        """The directory that unpacking into `path` writes to, or to the directory above it when it does not exist."""
        ...

    def place_tree(self, path: str, part: str, *, overwrite: bool, any_links: bool) -> Steps[None]:
        """Put the unpacked tree `part` in the place of the directory `path`, or into it where it exists.

        Nothing is changed when something in it is refused, with the steps `device`, `link` (one that leads out of the
        tree, unless `any_links`), `exists` (unless `overwrite`). The progress counts its entries.
        """
        ...

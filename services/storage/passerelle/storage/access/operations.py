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
    """A regular file that is held open on the system.

    `at` is a path that opens this very file even after it was moved or replaced; empty when the system has none.
    """

    info: FileInfo
    at: str


@dataclass(frozen=True, slots=True)
class WriteTarget:
    """The file that a write to a path replaces or makes: its path without links, and its ETag (None: no file yet)."""

    real: str
    version: str | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a part was not placed: its size, its checksum or the version of the existing file did not match.

    `actual` is the actual value: a size in bytes, a checksum in lower-case hexadecimal, or an ETag (empty: no file).
    """

    mismatch: Literal["size", "sha256", "version"]
    actual: str


@dataclass(frozen=True, slots=True)
class PackSource:
    """A file or directory to pack: its path without links, and whether it is a directory.

    `parent` is the directory that contains the name by which the caller gave it; without links.
    """

    real: str
    parent: str
    directory: bool


@dataclass(frozen=True, slots=True)
class UnpackSource:
    """An archive to unpack: its path without links, and whether it is an uncompressed tar that lacks its end marker."""

    real: str
    truncated: bool


@dataclass(frozen=True, slots=True)
class UnpackTarget:
    """The directory that an archive is unpacked into: its path without links, and whether it exists yet."""

    real: str
    exists: bool


class FileOperations(Protocol):
    """The files of one system, over one connection of one user.

    Paths are absolute; a byte of one that is not UTF-8 is a lone surrogate (PEP 383). Sizes and offsets are in bytes.
    Every method raises FileError when the system refuses, Outside for a path that leads out of its filesystems,
    Unsupported when the system lacks a helper or program that is needed, ConnectionFailed when the connection is lost,
    and DeadlineExceeded when a stream stalls. Cancelling a call, or closing an iterator, ends the work on the system.
    """

    content_limit: int
    """The most bytes that `write_file` takes; 0 when all content has to go over the content channel."""

    async def stat(self, path: str, *, dereference: bool) -> FileInfo:
        """The attributes of a file; `dereference` follows a final link."""
        ...

    async def row(self, path: str, columns: Columns, *, dereference: bool) -> Row:
        """As `stat`, but only these columns, not parsed."""
        ...

    async def stat_many(
        self, paths: Sequence[str], *, dereference: bool
    ) -> Sequence[FileInfo | ApiError]:
        """For each path, in order, the attributes of the file or the error of the attempt to read them."""
        ...

    async def list(self, path: str, listing: Listing, limit: int) -> Sequence[FileInfo]:
        """The entries of a directory in byte order; for any other file, that file alone.

        Raises FileError (EFBIG) when the answer has more than `limit` bytes.
        """
        ...

    async def table(self, path: str, listing: Listing, columns: Columns, limit: int) -> Table:
        """As `list`, but only these columns, not parsed."""
        ...

    def walk(self, path: str, walk: Walk) -> AsyncGenerator[Sequence[FileInfo], None]:
        """The files in a tree, in batches as they are found; a batch may be empty. Names are relative to `path`.

        Directories that cannot be read are skipped; the first such error is raised at the end.
        """
        ...

    async def read(self, path: str, offset: int, length: int, limit: int | None) -> bytes:
        """Up to `length` bytes from `offset` on. Raises FileError (EFBIG) for a file of more than `limit` bytes."""
        ...

    async def excerpt(self, path: str, excerpt: Excerpt, limit: int) -> bytes:
        """Part of a file. Raises FileError (EFBIG) when that part has more than `limit` bytes."""
        ...

    def hold(self, path: str) -> AbstractAsyncContextManager[HeldFile]:
        """A regular file, which is held open inside the block if the system allows it."""
        ...

    def checksum(self, path: str, algorithm: str) -> Steps[str]:
        """The checksum in hexadecimal; `algorithm` is a name that both `hashlib` and coreutils' `NAMEsum` have."""
        ...

    def measure(self, path: str) -> Steps[Usage]:
        """The disk usage of a tree; a file with several names counts once."""
        ...

    async def quota(self, path: str) -> Quota:
        """The used and free space of the filesystem of `path`."""
        ...

    async def make_directory(self, path: str, *, parents: bool) -> FileInfo:
        """Make a directory; its attributes. `parents` makes missing parents, and accepts a directory that exists."""
        ...

    async def make_symlink(self, path: str, target: str) -> None:
        """Make a symbolic link to `target` at `path`; the target must be inside the system's filesystems."""
        ...

    async def run_program(self, path: str, argv: Sequence[str], *, dereference: bool) -> Output:
        """Run `argv` with `path` as its last argument. `dereference` says whether the program follows a final link."""
        ...

    def copy(
        self, path: str, target: str, *, overwrite: bool, dereference: bool
    ) -> Steps[FileInfo]:
        """Copy a file or a tree with modes and times, completely or not at all; the attributes of the copy.

        With `overwrite` a file replaces a file, and a directory is merged into a directory that exists.
        Raises FileError with the step `itself` for a directory that would be copied into itself.
        """
        ...

    def move(self, path: str, target: str, *, overwrite: bool) -> Steps[FileInfo]:
        """Rename, or copy and remove between two filesystems; the attributes afterwards. Raises as `copy`."""
        ...

    def remove(self, path: str) -> Steps[None]:
        """Remove a file, a link (not its target), or a directory with its contents."""
        ...

    async def write_target(self, path: str) -> WriteTarget:
        """The file that a write to `path` replaces or makes. Raises FileError when it can do neither."""
        ...

    async def begin_part(self, path: str, part: str, stale: float) -> None:
        """Make the empty file `part` beside `path`, readable by its user alone. `path` has no links in it.

        The user's parts in the same directory that were not changed for `stale` seconds are removed.
        """
        ...

    def place_part(
        self, path: str, part: str, size: int, conditions: WriteConditions
    ) -> Steps[str | Refusal]:
        """Replace `path` by the part of `size` bytes, or append the part to it, completely or not at all.

        `path` has no links in it. Returns the new ETag of the file, or why nothing was changed. Raises FileError with
        the step `part` when there is no part, with the step `busy` when another call uses it.
        """
        ...

    async def write_file(
        self, path: str, content: bytes, conditions: WriteConditions, *, digest: bool = True
    ) -> Written | Refusal:
        """Write a file or append to it, completely or not at all; the result, or why nothing was changed.

        `content` has at most `content_limit` bytes. Without `digest`, the result's SHA-256 is that in `conditions`.
        """
        ...

    async def settled_size(self, part: str) -> int:
        """The size of a part in bytes, once no receiver of an earlier call writes to it any more."""
        ...

    async def make_part(self, part: str) -> None:
        """Make an empty file that only its user can read. Raises FileError (EEXIST) when the path exists."""
        ...

    async def write_part(self, part: str, offset: int, content: bytes) -> None:
        """Write all of `content` at `offset`."""
        ...

    async def truncate_part(self, part: str, size: int) -> None:
        """Cut the part to `size` bytes."""
        ...

    async def remove_part(self, part: str) -> None:
        """Remove the part, if it exists."""
        ...

    async def pack_source(self, path: str, *, dereference: bool) -> PackSource:
        """The regular file or directory that packing `path` packs.

        With `dereference` the targets of links in it are packed, too, and must be inside the filesystems.
        """
        ...

    async def unpack_source(self, path: str) -> UnpackSource:
        """The archive that `path` leads to."""
        ...

    async def unpack_target(self, path: str) -> UnpackTarget:
        """The directory that unpacking into `path` fills; it need not exist, but its parent must."""
        ...

    def place_tree(self, path: str, part: str, *, overwrite: bool, any_links: bool) -> Steps[None]:
        """Move the unpacked tree `part` to the directory `path`, or merge it into `path` where that exists.

        Raises FileError before anything is changed, with the step `device` for a device in the tree, `link` for a link
        that leads out of it (unless `any_links`), `exists` for an existing file (unless `overwrite`). The progress
        counts the tree's entries.
        """
        ...

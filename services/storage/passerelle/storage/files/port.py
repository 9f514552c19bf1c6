"""The Files port: what can be done with the files of one system, as the current caller.

Paths are absolute and normalised; names in answers are text in which a byte that is not UTF-8 stands as a backslash and
three octal digits. `SystemFiles` (system_files.py) is the implementation over SSH.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from passerelle.storage.values import (
    REPLACE,
    Columns,
    Excerpt,
    FileInfo,
    Listing,
    Row,
    Table,
    WriteConditions,
    Written,
)


class OpenFile(Protocol):
    """A file being read: its size when it was opened, in bytes, and a text that changes whenever the file does."""

    size: int
    version: str

    def chunks(self, offset: int, length: int) -> AsyncIterator[bytes]:
        """Its bytes from `offset` on, exactly `length` of them; FileError when the file turns out shorter.

        Fails before the last of them when the file was changed meanwhile.
        """
        ...


class Files(Protocol):
    """The files of one system.

    Every method raises FileError for what the system refuses, ConnectionFailed, Overloaded or DeadlineExceeded for the
    way there. Cancelling a call gives up its work on the system.
    """

    async def notes(self) -> Sequence[str]:
        """What the caller's account lacks on the system, and what is used instead."""
        ...

    async def stat(self, path: str, *, dereference: bool = False) -> FileInfo:
        """What is known about a file; `dereference` follows a final link."""
        ...

    async def row(self, path: str, columns: Columns, *, dereference: bool = False) -> Row:
        """The same with these columns, as JSON that is passed on as it came."""
        ...

    async def list(self, path: str, listing: Listing) -> Sequence[FileInfo]:
        """A directory's entries in byte order, or the one file that `path` is."""
        ...

    async def table(self, path: str, listing: Listing, columns: Columns) -> Table:
        """The same with these columns, as JSON that is passed on as it came."""
        ...

    async def read(self, path: str, offset: int, length: int, limit: int | None = None) -> bytes:
        """At most `length` bytes from `offset` on; TooLarge for a file of more than `limit` bytes."""
        ...

    async def excerpt(self, path: str, excerpt: Excerpt, limit: int) -> bytes:
        """A piece of a file; TooLarge when it has more than `limit` bytes."""
        ...

    async def make_directory(self, path: str, *, parents: bool = False) -> FileInfo:
        """Make a directory; what is known about it. `parents` makes those above it, and accepts one that exists."""
        ...

    async def remove(self, path: str) -> None:
        """Remove a file, a link (not what it points to), or a directory with all that is in it."""
        ...

    def opened(self, path: str) -> AbstractAsyncContextManager[OpenFile]:
        """A file to be read as a stream of any size, in constant memory."""
        ...

    async def require_writable(self, path: str) -> str:
        """Where writing to `path` would write: its path without links. Raises FileError unless that is a regular file
        that may be replaced, or one that can be made."""
        ...

    async def write(
        self, path: str, chunks: AsyncIterator[bytes], conditions: WriteConditions = REPLACE
    ) -> Written:
        """Write a file of any size in constant memory.

        It appears under its name, whole, only when `chunks` has ended without an error, and on the `conditions`:
        InvalidArgument when its checksum is another, PreconditionFailed or FileError (EEXIST) for what is there.
        """
        ...

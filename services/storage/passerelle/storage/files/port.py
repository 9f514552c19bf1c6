"""The Files port: the files of one system, as the current caller.

Paths are absolute and normalised. Names in results are text in which a byte that is not UTF-8 is a backslash and three
octal digits. `SystemFiles` (system_files.py) is the implementation over SSH.
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
        """Exactly `length` bytes from `offset` on. Raises FileError when the file is shorter.

        Raises Changed before the last bytes when the file was changed meanwhile.
        """
        ...


class Files(Protocol):
    """The files of one system.

    Every method raises FileError when the system refuses, and ConnectionFailed, Overloaded or DeadlineExceeded when it
    cannot be reached. Cancelling a call ends its work on the system.
    """

    async def notes(self) -> Sequence[str]:
        """The means of access that the caller's account lacks, and their replacements, as sentences."""
        ...

    async def stat(self, path: str, *, dereference: bool = False) -> FileInfo:
        """The attributes of a file; `dereference` follows a final link."""
        ...

    async def row(self, path: str, columns: Columns, *, dereference: bool = False) -> Row:
        """As `stat`, but only these columns, as JSON made on the system."""
        ...

    async def list(self, path: str, listing: Listing) -> Sequence[FileInfo]:
        """The entries of a directory in byte order; for any other file, that file alone."""
        ...

    async def table(self, path: str, listing: Listing, columns: Columns) -> Table:
        """As `list`, but only these columns, as JSON made on the system."""
        ...

    async def read(self, path: str, offset: int, length: int, limit: int | None = None) -> bytes:
        """Up to `length` bytes from `offset` on. Raises TooLarge for a file of more than `limit` bytes."""
        ...

    async def excerpt(self, path: str, excerpt: Excerpt, limit: int) -> bytes:
        """Part of a file. Raises TooLarge when that part has more than `limit` bytes."""
        ...

    async def make_directory(self, path: str, *, parents: bool = False) -> FileInfo:
        """Make a directory; its attributes. `parents` makes missing parents, and accepts a directory that exists."""
        ...

    async def remove(self, path: str) -> None:
        """Remove a file, a link (not its target), or a directory with its contents."""
        ...

    def opened(self, path: str) -> AbstractAsyncContextManager[OpenFile]:
        """A file to be read as a stream of any size, in constant memory."""
        ...

    async def require_writable(self, path: str) -> str:
        """The path, without links, of the file that a write to `path` replaces or makes. Raises FileError when it can
        do neither."""
        ...

    async def write(
        self,
        path: str,
        chunks: AsyncIterator[bytes],
        conditions: WriteConditions = REPLACE,
        *,
        cut_off_raises: bool = False,
        digest: bool = True,
    ) -> Written:
        """Write a file of any size in constant memory.

        `cut_off_raises` says that `chunks` raise when content is missing at their end. Otherwise they may just end
        when the client goes away, a moment before this call is cancelled; what then has arrived is not written.
        Without `digest`, the result may lack the SHA-256, which for small content saves computing it.
        It gets its name when `chunks` has ended without an error and the `conditions` hold. Raises InvalidArgument for
        a wrong checksum, PreconditionFailed or FileError (EEXIST) because of the existing file.
        """
        ...

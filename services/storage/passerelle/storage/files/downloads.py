"""Downloads: all data that leaves a system for a caller, and the limits on their size.

They are file content, archives, small files of FirecREST's, and files that leave by a staging method. Copies from
system to system are not downloads.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager

from passerelle.runtime import caller
from passerelle.runtime.errors import Forbidden
from passerelle.storage.files.archives import Archives, Format, Selection
from passerelle.storage.files.port import Files, OpenFile


class DownloadTooLarge(Forbidden):
    """A download is larger than the limit of the caller's OAuth client."""

    reason = "DOWNLOAD_TOO_LARGE"


class Downloads:
    """The downloads of one system, as the current caller; errors as of `Files` and `Archives`, and DownloadTooLarge.

    `limits` are in bytes, by the id of the OAuth client; other clients have no limit. They apply to the size of a file,
    even if only a part is read, and to the size of a packed archive.
    """

    def __init__(self, files: Files, archives: Archives, limits: Mapping[str, int]) -> None:
        self._files = files
        self._archives = archives
        self._limits = limits

    @asynccontextmanager
    async def opened(self, path: str) -> AsyncIterator[OpenFile]:
        """As `Files.opened`."""
        async with self._files.opened(path) as file:
            self._require(file.size)
            yield file

    async def read(self, path: str, limit: int) -> bytes:
        """The content of a file of at most `limit` bytes. Raises TooLarge as `Files.read`."""
        content = await self._files.read(path, 0, limit, limit)
        self._require(len(content))
        return content

    async def packed(
        self, path: str, packing: Format, selection: Selection
    ) -> AsyncGenerator[bytes, None]:
        """As `Archives.packed`; DownloadTooLarge is raised when more than the limit was packed."""
        size = 0
        async with aclosing(self._archives.packed(path, packing, selection)) as packed:
            async for piece in packed:
                size += len(piece)
                self._require(size)
                yield piece

    async def require_allowed(self, path: str) -> None:
        """Raise DownloadTooLarge for a file that is larger than the caller may download, FileError when its size
        cannot be read."""
        if self._limit() is not None:
            self._require((await self._files.stat(path, dereference=True)).size)

    def _limit(self) -> int | None:
        return self._limits.get(caller.current().client_id)

    def _require(self, size: int) -> None:
        limit = self._limit()
        if limit is not None and size > limit:
            client = caller.current().client_id
            raise DownloadTooLarge(
                f"The client {client} may download at most {limit} bytes.", limit=str(limit)
            )

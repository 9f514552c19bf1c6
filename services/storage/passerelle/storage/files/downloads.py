"""What leaves a system for a caller, whichever way it goes, and how much that may be.

Every download comes by here: file content, archives, small files of FirecREST's, and files that leave by a staging
method. Copies from system to system are none.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager

from passerelle.runtime import caller
from passerelle.runtime.errors import Forbidden
from passerelle.storage.files.archives import Archives, Format, Selection
from passerelle.storage.files.port import Files, OpenFile


class DownloadTooLarge(Forbidden):
    """More than the caller's OAuth client may download."""

    reason = "DOWNLOAD_TOO_LARGE"


class Downloads:
    """The downloads of one system, as the current caller; errors as of `Files` and `Archives`, and DownloadTooLarge.

    `limits` are by OAuth client, in bytes: of a file, whichever part of it is asked for, and of an archive as it is
    packed. Clients that are not among them have none.
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
        """All of a file, which has no more than `limit` bytes: TooLarge, as of `Files.read`."""
        content = await self._files.read(path, 0, limit, limit)
        self._require(len(content))
        return content

    async def packed(
        self, path: str, packing: Format, selection: Selection
    ) -> AsyncGenerator[bytes, None]:
        """As `Archives.packed`; what is too large is known only when so much of it has been packed."""
        size = 0
        async with aclosing(self._archives.packed(path, packing, selection)) as packed:
            async for piece in packed:
                size += len(piece)
                self._require(size)
                yield piece

    async def require_allowed(self, path: str) -> None:
        """Raise DownloadTooLarge for a file that is larger now than the caller may download, FileError for one that
        cannot be looked at."""
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

"""Whole trees of one system, and many files at once, as the current caller."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from passerelle.runtime.errors import ApiError, Field, InvalidArgument
from passerelle.storage.access.system_access import SystemAccess
from passerelle.storage.errors import FileError
from passerelle.storage.values import FileInfo, Quota, Steps, Usage, Walk


class Trees:
    """Trees of one system.

    Long operations are iterators of Progress, about one a second; the last one has the result. A caller that stops
    early must close the iterator, which ends the work on the system. Raises as `Files`.
    """

    def __init__(self, access: SystemAccess) -> None:
        self._access = access

    async def stat(
        self, paths: Sequence[str], *, dereference: bool = False
    ) -> Sequence[FileInfo | ApiError]:
        """For each path, in order, the attributes of the file or the error of the attempt to read them."""
        return await self._access.query(
            lambda files: files.stat_many(paths, dereference=dereference)
        )

    def walk(self, path: str, walk: Walk) -> AsyncGenerator[Sequence[FileInfo], None]:
        """The files in a tree, in batches; a batch may be empty. Names are relative to `path`.

        Directories that cannot be read are skipped; the first such error is raised at the end.
        """
        return self._access.stream(lambda files: files.walk(path, walk))

    def copy(
        self, path: str, target: str, *, overwrite: bool = False, dereference: bool = False
    ) -> Steps[FileInfo]:
        """Copy a file or a tree, with modes and times.

        The copy gets its name when it is complete. With `overwrite` a file replaces a file, and a directory is merged
        into an existing directory, file by file.
        """
        return _apart(
            self._access.stream(
                lambda files: files.copy(path, target, overwrite=overwrite, dereference=dereference)
            )
        )

    def move(self, path: str, target: str, *, overwrite: bool = False) -> Steps[FileInfo]:
        """Rename, or between two filesystems copy and remove."""
        return _apart(
            self._access.stream(lambda files: files.move(path, target, overwrite=overwrite))
        )

    def remove(self, path: str) -> Steps[None]:
        """Remove a file, a link, or a directory with its contents."""
        return self._access.stream(lambda files: files.remove(path))

    def measure(self, path: str) -> Steps[Usage]:
        """Add up a tree as du(1) does."""
        return self._access.stream(lambda files: files.measure(path))

    async def quota(self, path: str) -> Quota:
        """The used and free space of the filesystem of `path`, and the caller's quota, if the system has quotas."""
        return await self._access.query(lambda files: files.quota(path))


async def _apart(steps: Steps[FileInfo]) -> Steps[FileInfo]:
    """The same steps. Raises InvalidArgument when a directory would be copied or moved into itself."""
    async with aclosing(steps):
        try:
            async for step in steps:
                yield step
        except FileError as error:
            if error.step != "itself":
                raise
            violation = "must be neither what is copied or moved nor inside of it"
            field = Field("body", "target", violation)
            raise InvalidArgument(f"target {violation}", (field,)) from None

"""Whole trees of one system, and many files at once, as the current caller."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import orjson

from passerelle.runtime.errors import ApiError, Field, InvalidArgument
from passerelle.storage.access.helper_errors import helper_error
from passerelle.storage.access.sessions import Sessions
from passerelle.storage.errors import FileError
from passerelle.storage.files.quotas import user_room
from passerelle.storage.values import EVERYTHING, FileInfo, Progress, Room, Walk


class Trees:
    """Trees of one system.

    Long operations are iterators of Progress, about one a second; the last one has a result. Whoever does not take
    them to the end closes them, which ends the work on the system. Errors as those of `Files`.
    """

    def __init__(self, sessions: Sessions, system: str) -> None:
        self._sessions = sessions
        self._system = system

    async def stat(
        self, paths: Sequence[str], *, dereference: bool = False
    ) -> Sequence[FileInfo | ApiError]:
        """What is known about each file, or why nothing is."""
        answer = await self._sessions.call(
            "stat_many", paths=list(paths), dereference=dereference, columns=EVERYTHING
        )
        return [self._told(orjson.loads(line)) for line in answer.splitlines()]

    def _told(self, answer: dict[str, dict[str, object]]) -> FileInfo | ApiError:
        if "failure" in answer:
            return helper_error(answer["failure"], self._system)
        return FileInfo(**answer["file"])  # type: ignore[arg-type]  # the columns are its fields

    async def walk(self, path: str, walk: Walk) -> AsyncGenerator[Sequence[FileInfo], None]:
        """What is in a tree, in batches, some of which may be empty; names are relative to `path`.

        Directories that cannot be read are passed by, and the first such error is raised at the end.
        """
        pieces = self._sessions.stream(
            "walk",
            path=path,
            columns=EVERYTHING,
            hidden=walk.hidden,
            dereference=walk.dereference,
            pattern=walk.pattern,
            max_depth=walk.max_depth,
            types=walk.types,
        )
        async with aclosing(pieces):
            async for piece in pieces:
                yield [FileInfo(**row) for row in orjson.loads(piece)]

    async def copy(
        self, path: str, target: str, *, overwrite: bool = False, dereference: bool = False
    ) -> AsyncGenerator[Progress, None]:
        """Copy a file or a tree, with modes and times; the result is a FileInfo's fields.

        It appears when it is whole. With `overwrite` a file takes the place of a file, and a directory is copied into
        a directory that is there, file by file.
        """
        steps = self._sessions.progress(
            "copy",
            path=path,
            target=target,
            overwrite=overwrite,
            dereference=dereference,
            columns=EVERYTHING,
        )
        async with aclosing(steps):
            try:
                async for progress in steps:
                    yield progress
            except FileError as error:
                raise _told(error) from None

    async def move(
        self, path: str, target: str, *, overwrite: bool = False
    ) -> AsyncGenerator[Progress, None]:
        """Rename, or between two filesystems copy and remove; the result is a FileInfo's fields."""
        steps = self._sessions.progress(
            "move", path=path, target=target, overwrite=overwrite, columns=EVERYTHING
        )
        async with aclosing(steps):
            try:
                async for progress in steps:
                    yield progress
            except FileError as error:
                raise _told(error) from None

    def remove(self, path: str) -> AsyncGenerator[Progress, None]:
        """Remove a file, a link, or a directory with all that is in it; no result."""
        return self._sessions.progress("remove", path=path)

    def measure(self, path: str) -> AsyncGenerator[Progress, None]:
        """Add up a tree as du(1) does; the result has `entries`, `size` and `allocated` bytes."""
        return self._sessions.progress("measure", path=path)

    async def quota(self, path: str) -> tuple[Room, Room | None]:
        """How much room there is on the filesystem of `path`, and for the caller, if the system tells."""
        found = orjson.loads(await self._sessions.call("quota", path=path))
        return Room(**found["room"]), user_room(found["said"])


def _told(error: FileError) -> ApiError:
    if error.step != "itself":
        return error
    wrong = "must be neither what is copied or moved nor inside of it"
    return InvalidArgument(f"target {wrong}", (Field("body", "target", wrong),))

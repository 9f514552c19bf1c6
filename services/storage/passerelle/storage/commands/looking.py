"""The operations that read attributes of files, by find(1)."""

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from passerelle.runtime.command import Output
from passerelle.runtime.errors import ApiError
from passerelle.storage.access.tool_errors import failure_of
from passerelle.storage.commands.batching import batches
from passerelle.storage.commands.boundary import PathArgument
from passerelle.storage.commands.find_output import FIELDS, FORMAT, called, entry, row_of, table_of
from passerelle.storage.commands.runner import CommandRunner
from passerelle.storage.errors import FileError, Outside
from passerelle.storage.remote.outcome import raw
from passerelle.storage.remote.reading.listing import name_filter
from passerelle.storage.values import EVERYTHING, Columns, FileInfo, Listing, Row, Table

# For each path, find's output, which begins with an empty value; then its exit status and its messages.
_STAT = """\
for path; do
  { errors=$(find "$follow" "$path" -maxdepth 0 -printf "$format" 2>&1 >&3); } 3>&1
  printf '%s\\0%s\\0' "$?" "$errors"
done
"""


class LookingCommands(CommandRunner):
    """Reading attributes of files."""

    async def stat(self, path: str, *, dereference: bool) -> FileInfo:
        """See `FileOperations.stat`."""
        await self._boundary.require_inside(PathArgument(path, dereference))
        return called(path, await self._look(path, dereference))

    async def row(self, path: str, columns: Columns, *, dereference: bool) -> Row:
        """See `FileOperations.row`."""
        return Row(row_of(await self.stat(path, dereference=dereference), columns))

    async def stat_many(
        self, paths: Sequence[str], *, dereference: bool
    ) -> Sequence[FileInfo | ApiError]:
        """See `FileOperations.stat_many`."""
        answers: list[FileInfo | ApiError] = []
        for some in batches(paths):
            outside = await self._boundary.outside(some, dereference)
            sound = [path for path in some if path not in outside]
            others = iter(await self._stat_some(sound, dereference) if sound else ())
            answers += [
                Outside("path", path, self._connection.system) if path in outside else next(others)
                for path in some
            ]
        return answers

    async def _stat_some(
        self, paths: Sequence[str], dereference: bool
    ) -> Sequence[FileInfo | ApiError]:
        """As `stat_many`, for paths that fit into one command line."""
        follow = f"follow={'-L' if dereference else '-P'}"
        script = ("sh", "-c", _STAT, "sh")
        output = await self._run("env", follow, f"format={FORMAT}", *script, *paths)
        values = iter(output.stdout.split("\0")[:-1])
        return [_answer(path, values) for path in paths]

    async def list(self, path: str, listing: Listing, limit: int) -> Sequence[FileInfo]:
        """See `FileOperations.list`."""
        files = await self._listed(path, listing)
        _sized(path, files, EVERYTHING, limit)
        return files

    async def table(self, path: str, listing: Listing, columns: Columns, limit: int) -> Table:
        """See `FileOperations.table`."""
        return _sized(path, await self._listed(path, listing), columns, limit)

    async def _listed(self, path: str, listing: Listing) -> Sequence[FileInfo]:
        await self._boundary.require_inside(PathArgument(path, listing.dereference))
        if listing.dereference:
            await self._boundary.require_links_inside(path, deep=listing.recursive)
        depth = () if listing.recursive else ("-maxdepth", "1")
        files = await self._find(path, listing.dereference, *depth)
        top = files.pop("")
        if top.letter != "d":
            return [called(path, top)]
        is_listed = name_filter(raw(listing.pattern), raw(listing.after))
        names = (
            name
            for name in _in_order(files, listing.hidden)
            if not is_listed or is_listed(raw(name))
        )
        return [files[name] for name in islice(names, listing.count)]


def _sized(path: str, files: Sequence[FileInfo], columns: Columns, limit: int) -> Table:
    table = table_of(files, columns)
    if len(table) > limit:
        raise FileError("limit", path, errno.EFBIG)
    return Table(table)


def _in_order(files: Mapping[str, FileInfo], hidden: bool) -> Iterator[str]:
    """Entries as `ls -R` orders them: a directory's whole content, then each of its directories'."""
    below: dict[str, list[str]] = {}
    for path in files:
        below.setdefault(os.path.dirname(path), []).append(path)
    pending = [""]
    while pending:
        paths = sorted(below.get(pending.pop(), ()), key=raw)
        shown = [path for path in paths if hidden or not os.path.basename(path).startswith(".")]
        yield from shown
        pending.extend(path for path in reversed(shown) if path in below)


def _answer(path: str, values: Iterator[str]) -> FileInfo | ApiError:
    status = next(values)
    if not status:  # an empty value: find's name for its starting point
        _, info = entry(["", *(next(values) for _ in range(FIELDS - 1))])
        next(values), next(values)  # find succeeded
        return called(path, info)
    words = next(values).rpartition(": ")[2]  # its own path may have newlines and colons in it
    error = failure_of(Output(int(status), "", f"find: {words}"), "access", path)
    return error if isinstance(error, FileError) else FileError("access", path, errno.EIO)

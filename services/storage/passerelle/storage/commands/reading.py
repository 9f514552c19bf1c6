"""The operations that read files, by GNU coreutils: files are opened first, and then checked."""

import base64
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from passerelle.runtime.command import Output
from passerelle.storage.access.guarded import MOVED, reading_inside
from passerelle.storage.access.operations import HeldFile
from passerelle.storage.access.tool_errors import begins, failure_of
from passerelle.storage.commands.boundary import PathArgument
from passerelle.storage.commands.find_output import called
from passerelle.storage.commands.runner import CommandRunner
from passerelle.storage.errors import Changed, FileError
from passerelle.storage.values import Excerpt, Progress, Steps

# Of the file that is open as descriptor 3; base64 keeps the bytes.
_READ = (
    'dd bs=64K skip="$1" count="$2" iflag=skip_bytes,count_bytes,fullblock status=none <&3 | base64'
)
# The second head keeps a huge answer from being carried here only to be refused.
_EXCERPT = '"$1" "$2" <&3 | head -c "$3" | base64'
_CHECKSUM = '"$1" <&3'


class ReadingCommands(CommandRunner):
    """Reading content of files."""

    @asynccontextmanager
    async def hold(self, path: str) -> AsyncIterator[HeldFile]:
        """See `FileOperations.hold`: nothing is held."""
        await self._boundary.require_inside(PathArgument(path))
        yield HeldFile(called(path, await self._regular(path)), "")

    async def read(self, path: str, offset: int, length: int, limit: int | None) -> bytes:
        """See `FileOperations.read`."""
        await self._boundary.require_inside(PathArgument(path))
        if limit is not None and (await self._regular(path)).size > limit:
            raise FileError("limit", path, errno.EFBIG)
        output = await self._opened(path, _READ, str(offset), str(length))
        return base64.b64decode(await self._require_success(output, path, "dd"))

    async def excerpt(self, path: str, excerpt: Excerpt, limit: int) -> bytes:
        """See `FileOperations.excerpt`."""
        await self._boundary.require_inside(PathArgument(path))
        program, option = _mark(excerpt)
        output = await self._opened(path, _EXCERPT, program, option, str(limit + 1))
        content = base64.b64decode(await self._require_success(output, path, program))
        if len(content) > limit:
            raise FileError("limit", path, errno.EFBIG)
        return content

    async def checksum(self, path: str, algorithm: str) -> Steps[str]:
        """See `FileOperations.checksum`."""
        await self._boundary.require_inside(PathArgument(path))
        size = (await self._regular(path)).size
        program = f"{algorithm}sum"
        output = await self._require_success(
            await self._opened(path, _CHECKSUM, program), path, program
        )
        yield Progress(0, size, size, output.partition(" ")[0], finished=True)

    async def _opened(self, path: str, script: str, *arguments: str) -> Output:
        roots = self._boundary.real_roots()
        return await self._run(*reading_inside(path, roots, "sh", "-c", script, "sh", *arguments))

    async def _require_success(self, output: Output, path: str, program: str) -> str:
        """The output of a pipeline. Raises an error for a message of `program`, whatever the pipeline's exit status."""
        if not (output.status or output.stderr):
            return output.stdout
        if begins(output, f"{program}: "):
            raise failure_of(output, "read", path)
        await self._regular(path)  # gives the best reason why the file could not be opened
        if output.status == MOVED:
            raise Changed(path)
        raise failure_of(output, "open", path)


def _mark(excerpt: Excerpt) -> tuple[str, str]:
    """The program that prints the excerpt, and its option for the beginning or end."""
    program = "head" if excerpt.before else "tail"
    if excerpt.from_end:
        mark = f"-{excerpt.count}"
    else:
        mark = str(excerpt.count) if excerpt.before else f"+{excerpt.count + 1}"
    return program, f"--{excerpt.unit}={mark}"

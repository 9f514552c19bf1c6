"""The operations that read files, by GNU coreutils, where no helper can run: opened first, and then looked at."""

import base64
import errno
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import orjson

from passerelle.runtime.command import Output
from passerelle.storage.access.guarded import MOVED, reading_inside
from passerelle.storage.access.tool_errors import begins, failure_of
from passerelle.storage.commands.find_output import as_object, named
from passerelle.storage.errors import Changed, FileError, not_regular
from passerelle.storage.values import Columns, FileInfo

# Of the file that is open as descriptor 3; base64 keeps the bytes.
_READ = (
    'dd bs=64K skip="$1" count="$2" iflag=skip_bytes,count_bytes,fullblock status=none <&3 | base64'
)
# The second head keeps a huge answer from being carried here only to be refused.
_EXCERPT = '"$1" "$2" <&3 | head -c "$3" | base64'
_CHECKSUM = '"$1" <&3'


class ReadingCommands:
    """Operations that read; `run` runs a program, `look` finds out about what a path leads to, `roots` tells the
    directories that what is read must lie in."""

    def __init__(
        self,
        run: Callable[..., Awaitable[Output]],
        look: Callable[[str, bool], Awaitable[FileInfo]],
        roots: Callable[[], Sequence[str]],
    ) -> None:
        self._run = run
        self._look = look
        self._roots = roots

    async def regular(self, path: str) -> FileInfo:
        """What is known about a regular file; FileError when it is something else."""
        info = await self._look(path, True)
        if info.letter != "-":
            raise not_regular("read", path, info.mode)
        return info

    async def hold(self, path: str, columns: Columns) -> bytes:
        """See `remote.content.hold_file`: nothing is held."""
        info = replace(await self.regular(path), **named(path))
        return orjson.dumps({"at": "", "file": as_object(info, columns)})

    async def read(self, path: str, offset: int, length: int, limit: int | None) -> bytes:
        """See `remote.content.read_file`."""
        if limit is not None and (await self.regular(path)).size > limit:
            raise FileError("limit", path, errno.EFBIG)
        output = await self._opened(path, _READ, str(offset), str(length))
        return base64.b64decode(await self._sound(output, path, "dd"))

    async def excerpt(
        self, path: str, unit: str, count: int, from_end: bool, before: bool, limit: int
    ) -> bytes:
        """See `remote.content.excerpt`."""
        program = "head" if before else "tail"
        mark = f"-{count}" if from_end else str(count) if before else f"+{count + 1}"
        output = await self._opened(path, _EXCERPT, program, f"--{unit}={mark}", str(limit + 1))
        content = base64.b64decode(await self._sound(output, path, program))
        if len(content) > limit:
            raise FileError("limit", path, errno.EFBIG)
        return content

    async def checksum(self, path: str, algorithm: str) -> bytes:
        """See `remote.checksums.checksum_file`."""
        size = (await self.regular(path)).size
        program = f"{algorithm}sum"
        said = await self._sound(await self._opened(path, _CHECKSUM, program), path, program)
        value = said.partition(" ")[0]
        return orjson.dumps({"entries": 0, "size": size, "total": size, "result": value})

    async def _opened(self, path: str, script: str, *arguments: str) -> Output:
        return await self._run(
            *reading_inside(path, self._roots(), "sh", "-c", script, "sh", *arguments)
        )

    async def _sound(self, output: Output, path: str, program: str) -> str:
        """What a program printed; raises for one that complained, whatever became of those behind it."""
        if not (output.status or output.stderr):
            return output.stdout
        if begins(output, f"{program}: "):
            raise failure_of(output, "read", path)
        await self.regular(path)  # which tells best why it could not be opened
        if output.status == MOVED:
            raise Changed(path)
        raise failure_of(output, "open", path)

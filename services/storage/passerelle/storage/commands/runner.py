"""Running the commands of operations over one connection, one process each."""

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from passerelle.runtime.command import Output, Request
from passerelle.runtime.errors import ApiError
from passerelle.runtime.ssh.connection import Connection
from passerelle.storage.access.program_stream import ProgramStream
from passerelle.storage.access.tool_errors import complaint, failure_of
from passerelle.storage.commands.boundary import BoundaryCommands
from passerelle.storage.commands.find_output import files_in, look_options, require_all
from passerelle.storage.errors import not_regular
from passerelle.storage.values import FileInfo

_UNHURRIED = 7 * 86400.0  # seconds; the caller's own deadline is shorter
_QUOTED = re.compile(r"'(.*)'", re.DOTALL)


class CommandRunner:
    """Runs programs over `connection`. Paths of operations must lie in `roots`, unless that is empty.

    A program with streamed output is ended when it prints nothing for `stall` seconds.
    """

    def __init__(self, connection: Connection, roots: Sequence[str], stall: float) -> None:
        self._connection = connection
        self._stall = stall
        self._boundary = BoundaryCommands(self._run, connection.system, roots)

    async def _run(self, *argv: str, stdin: str = "") -> Output:
        """A program's output, whatever its status."""
        request = Request(argv)
        return await self._connection.run(request, stdin, _UNHURRIED, errors="surrogateescape")

    async def _script(self, script: str, *arguments: str) -> Output:
        """The output of a shell script; `script` is a constant, and callers' text is in the arguments alone."""
        return await self._run("sh", "-c", script, "sh", *arguments)

    async def _do(self, step: str, path: str, *argv: str) -> Output:
        """The output of a program. Raises FileError about `step` and `path` when it fails."""
        output = await self._run(*argv)
        if output.status:
            raise failure_of(output, step, path)
        return output

    async def _piped(self, path: str, argv: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """A program's output, in pieces. Raises FileError about `path`, or the file in its message, when it fails."""
        connection = self._connection
        async with connection.piped(Request(argv)) as program:
            pipe = ProgramStream(program, connection.system, self._stall)
            async with aclosing(pipe.pieces()) as pieces:
                async for piece in pieces:
                    yield piece
            output = await pipe.ended()
        if output.status:
            raise named_failure(output, "open", path)

    async def _find(self, path: str, dereference: bool, *depth: str) -> dict[str, FileInfo]:
        """The files that find(1) prints, by path relative to `path`, whose own path is empty."""
        output = await self._run(*look_options(path, dereference, *depth))
        files = files_in(output.stdout)
        if output.status:
            raise named_failure(output, "open" if "" in files else "access", path)
        require_all(files, path, dereference=dereference)
        return files

    async def _look(self, path: str, dereference: bool = False) -> FileInfo:
        """The attributes of a file, without its name."""
        return (await self._find(path, dereference, "-maxdepth", "0"))[""]

    async def _regular(self, path: str) -> FileInfo:
        """The attributes of a regular file. Raises FileError for any other file."""
        info = await self._look(path, True)
        if info.letter != "-":
            raise not_regular("read", path, info.mode)
        return info

    async def _real(self, path: str, step: str = "access") -> str:
        """The path without links. Raises FileError when its directory does not exist."""
        output = await self._run("readlink", "-v", "-f", "-z", "--", path)
        if output.status:
            raise named_failure(output, step, path)
        return output.stdout.rstrip("\0")


def named_failure(output: Output, step: str, path: str) -> ApiError:
    """The error of a failed command, about the file that its message quotes, else about `path`."""
    where = _QUOTED.search(complaint(output))
    return failure_of(output, step, where[1] if where else path)

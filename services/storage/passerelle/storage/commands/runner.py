"""What the operations by commands stand on: one process each, over one connection."""

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

_UNHURRIED = 7 * 86400.0  # seconds; whoever asks ends it before
_QUOTED = re.compile(r"'(.*)'", re.DOTALL)


class CommandRunner:
    """Runs programs over `connection`; paths of operations must lie in `roots`, if there are some.

    A program whose output is a stream is given up when it prints nothing for `stall` seconds.
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
        """The output of a shell script, to which nobody's text but its arguments is given."""
        return await self._run("sh", "-c", script, "sh", *arguments)

    async def _do(self, step: str, path: str, *argv: str) -> Output:
        """The output of a program that has to succeed; a failure is one of `step` on the file at `path`."""
        output = await self._run(*argv)
        if output.status:
            raise failure_of(output, step, path)
        return output

    async def _piped(self, path: str, argv: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """What a program prints, as it comes; a failure at its end is one of `path`, or the file that it names."""
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
        """What find(1) finds, by path relative to `path`, which itself is the empty one."""
        output = await self._run(*look_options(path, dereference, *depth))
        files = files_in(output.stdout)
        if output.status:
            raise named_failure(output, "open" if "" in files else "access", path)
        require_all(files, path, dereference=dereference)
        return files

    async def _look(self, path: str, dereference: bool = False) -> FileInfo:
        """What is known about a file, without its name."""
        return (await self._find(path, dereference, "-maxdepth", "0"))[""]

    async def _regular(self, path: str) -> FileInfo:
        """What is known about a regular file; FileError when it is something else."""
        info = await self._look(path, True)
        if info.letter != "-":
            raise not_regular("read", path, info.mode)
        return info

    async def _real(self, path: str, step: str = "access") -> str:
        """The path without links; FileError when there is nothing above its last component."""
        output = await self._run("readlink", "-v", "-f", "-z", "--", path)
        if output.status:
            raise named_failure(output, step, path)
        return output.stdout.rstrip("\0")


def named_failure(output: Output, step: str, path: str) -> ApiError:
    """The failure that a command tells, about the file that it names in quotes if it does."""
    where = _QUOTED.search(complaint(output))
    return failure_of(output, step, where[1] if where else path)

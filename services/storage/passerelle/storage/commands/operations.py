"""The fallback where no helper can run: the same operations by GNU coreutils and findutils, one process each.

Every operation here takes the arguments and gives the result of its namesake in `remote/helper/operations.py`.
"""

import errno
import json
import os
import re
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from dataclasses import replace
from itertools import islice
from typing import Any

import orjson

from passerelle.runtime.command import Output, Request
from passerelle.runtime.errors import ApiError, Unsupported
from passerelle.runtime.ssh.connection import Connection
from passerelle.storage.access.pipes import Pipe
from passerelle.storage.access.tool_errors import complaint, failure_of
from passerelle.storage.commands.batching import batches
from passerelle.storage.commands.boundary import BoundaryCommands
from passerelle.storage.commands.find_output import FIELDS, FORMAT, as_object, entry, named
from passerelle.storage.commands.parts import PartCommands
from passerelle.storage.commands.placing import PlacingCommands
from passerelle.storage.commands.reading import ReadingCommands
from passerelle.storage.commands.trees import TreeCommands
from passerelle.storage.errors import FileError, not_regular
from passerelle.storage.paths import shown
from passerelle.storage.remote.outcome import raw
from passerelle.storage.remote.reading.listing import wanted_names
from passerelle.storage.values import Columns, FileInfo

_UNHURRIED = 7 * 86400.0  # seconds; whoever asks ends it before
_QUOTED = re.compile(r"'(.*)'", re.DOTALL)


class PlainCommands:
    """The operations by one process each, over one connection; paths must lie in `roots`, if there are some."""

    def __init__(self, connection: Connection, roots: Sequence[str] = ()) -> None:
        self._connection = connection
        self._boundary = BoundaryCommands(self._run, connection.system, roots)
        self._trees = TreeCommands(self._run, self._piped, self._look, self._boundary)
        self._reading = ReadingCommands(self._run, self._look, self._boundary.real_roots)
        parts = PartCommands(self._run)
        placing = PlacingCommands(self._run, self._look, parts.make)
        self._operations: Mapping[str, Callable[..., Awaitable[bytes]]] = {
            "stat": self._stat,
            "list": self._list,
            "read": self._reading.read,
            "hold": self._reading.hold,
            "excerpt": self._reading.excerpt,
            "mkdir": self._make_directory,
            "remove": self._remove,
            "symlink": self._make_symlink,
            "run": self._run_program,
            "checksum": self._reading.checksum,
            "target": self._target,
            "pack_source": self._pack_source,
            "unpack_source": self._unpack_source,
            "begin": placing.begin,
            "place": placing.place,
            "make_part": parts.make,
            "write_part": parts.write,
            "cut_part": parts.cut,
            "drop_part": parts.drop,
            "copy": self._trees.copy,
            "move": self._trees.move,
            "measure": self._trees.measure,
            "quota": self._trees.quota,
            "stat_many": self._stat_many,
        }

    @property
    def alive(self) -> bool:
        """Whether it still answers: always, as long as its connection does."""
        return True

    async def call(self, operation: str, arguments: dict[str, Any]) -> bytes:
        """See `RemoteHelper.call`; Unsupported for what takes a helper."""
        if operation not in self._operations:
            raise Unsupported(
                f"This takes Python on system {self._connection.system}, which has none."
            )
        await self._boundary.demand(operation, arguments)
        return await self._operations[operation](**arguments)

    async def stream(
        self, operation: str, arguments: dict[str, Any], stall: float
    ) -> AsyncGenerator[bytes, None]:
        """See `RemoteHelper.stream`; most operations send nothing before they are done."""
        if operation != "walk":
            yield await self.call(operation, arguments)
            return
        await self._boundary.demand(operation, arguments)
        async with aclosing(self._trees.walk(stall=stall, **arguments)) as pieces:
            async for piece in pieces:
                yield piece

    async def _stat(self, path: str, dereference: bool, columns: Columns) -> bytes:
        found = await self._find(path, dereference, "-maxdepth", "0")
        return orjson.dumps(as_object(replace(found[""], **named(path)), columns))

    async def _list(
        self,
        path: str,
        columns: Columns,
        hidden: bool,
        recursive: bool,
        dereference: bool,
        limit: int,
        pattern: str = "",
        after: str = "",
        count: int | None = None,
    ) -> bytes:
        if dereference:
            await self._boundary.demand_links(path, deep=recursive)
        depth = () if recursive else ("-maxdepth", "1")
        found = await self._find(path, dereference, *depth)
        top = found.pop("")
        wanted = wanted_names(raw(pattern), raw(after))
        inner = (
            found[name] for name in _in_order(found, hidden) if wanted is None or wanted(raw(name))
        )
        rows = list(islice(inner, count)) if top.letter == "d" else [replace(top, **named(path))]
        result = orjson.dumps([as_object(info, columns) for info in rows])
        if len(result) > limit:
            raise FileError("limit", path, errno.EFBIG)
        return result

    async def _find(self, path: str, dereference: bool, *depth: str) -> dict[str, FileInfo]:
        """What find(1) prints, by path relative to `path`, which itself is the empty one."""
        follow = "-L" if dereference else "-P"
        # An entry that vanishes while its directory is read is no error; then neither is a `path` that is not there.
        options = ("-ignore_readdir_race", *depth, "-printf", FORMAT)
        output = await self._run("find", follow, path, *options)
        values = output.stdout.split("\0")[:-1]
        found = dict(entry(values[at : at + FIELDS]) for at in range(0, len(values), FIELDS))
        if output.status:
            raise _failure(output, "open" if "" in found else "access", path)
        if "" not in found:
            raise FileError("access", path, errno.ENOENT)
        for name, info in found.items():
            if dereference and info.letter == "l":  # find falls back to the link; ls -L does not
                raise FileError("access", os.path.join(path, name).rstrip("/"), errno.ENOENT)
        return found

    async def _make_directory(self, path: str, parents: bool, columns: Columns) -> bytes:
        output = await self._run("mkdir", *(("-p",) if parents else ()), "--", path)
        if output.status:
            raise _failure(output, "mkdir", path)
        return await self._stat(path, True, columns)

    async def _remove(self, path: str) -> bytes:
        output = await self._run("rm", "-r", "--interactive=never", "--", path)
        if output.status:
            raise _failure(output, "unlink", path)
        return orjson.dumps({"entries": 0, "size": 0, "total": 0, "result": None})

    async def _make_symlink(self, path: str, target: str) -> bytes:
        output = await self._run("ln", "-s", "-T", "--", target, path)
        if output.status:
            raise failure_of(output, "symlink", path)
        return b""

    async def _run_program(self, path: str, argv: Sequence[str], dereference: bool) -> bytes:
        output = await self._run(*argv, path)
        return orjson.dumps([output.status, output.stdout, output.stderr])

    async def _look(self, path: str, dereference: bool = False) -> FileInfo:
        return (await self._find(path, dereference, "-maxdepth", "0"))[""]

    async def _stat_many(self, paths: Sequence[str], dereference: bool, columns: Columns) -> bytes:
        lines = []
        for some in batches(paths):
            outside = await self._boundary.outside(some, dereference)
            sound = [path for path in some if path not in outside]
            answers = await self._trees.stat_many(sound, dereference, columns) if sound else ()
            told = iter(answers)
            lines += [_leads_out(path) if path in outside else next(told) for path in some]
        return b"".join(orjson.dumps(line) + b"\n" for line in lines)

    async def _target(self, path: str) -> bytes:
        real = await self._real(path, "open")
        there = await self._replaceable(path, real)
        kinds = ("-type", "d", "-executable", "-writable", "-o", "-type", "f", "-writable")
        asked = (os.path.dirname(real), *((real,) if there else ()))
        found = await self._run("find", "-P", *asked, "-maxdepth", "0", *kinds)
        if found.status:
            raise _failure(found, "open", path)
        if found.stdout != "".join(f"{name}\n" for name in asked):
            raise FileError("open", path, errno.EACCES)
        return json.dumps({"real": real, "version": there and there.version}).encode()

    async def _replaceable(self, path: str, real: str) -> FileInfo | None:
        """What is at `real`, or None; FileError when it is no regular file."""
        found = await self._run("find", "-P", real, "-maxdepth", "0", "-printf", FORMAT)
        if found.status:
            error = _failure(found, "open", path)
            if isinstance(error, FileError) and error.errno == errno.ENOENT:
                return None
            raise error
        info = entry(found.stdout.split("\0")[:-1])[1]
        if info.letter != "-":
            raise not_regular("open", path, info.mode)
        return info

    async def _pack_source(self, path: str, dereference: bool) -> bytes:
        info = await self._look(path, dereference=True)
        if info.letter not in "-d":
            raise not_regular("read", path, info.mode)
        directory = info.letter == "d"
        if dereference and directory:
            await self._boundary.demand_links(path, deep=True)
        real, parent = await self._real(path), await self._real(os.path.dirname(path))
        return json.dumps({"real": real, "parent": parent, "directory": directory}).encode()

    async def _unpack_source(self, path: str) -> bytes:
        await self._reading.regular(path)
        return json.dumps({"real": await self._real(path), "cut": False}).encode()

    async def _real(self, path: str, step: str = "access") -> str:
        output = await self._run("readlink", "-v", "-f", "-z", "--", path)
        if output.status:
            raise _failure(output, step, path)
        return output.stdout.rstrip("\0")

    async def _run(self, *argv: str, stdin: str = "") -> Output:
        request = Request(argv)
        return await self._connection.run(request, stdin, _UNHURRIED, errors="surrogateescape")

    async def _piped(
        self, path: str, argv: Sequence[str], stall: float
    ) -> AsyncGenerator[bytes, None]:
        connection = self._connection
        async with connection.piped(Request(argv)) as program:
            pipe = Pipe(program, connection.system, stall)
            async with aclosing(pipe.pieces()) as pieces:
                async for piece in pieces:
                    yield piece
            output = await pipe.ended()
        if output.status:
            raise _failure(output, "open", path)


def _leads_out(path: str) -> dict[str, Any]:
    told = {"step": "boundary", "path": shown(path), "errno": errno.EXDEV, "field": "path"}
    return {"failure": told}


def _in_order(found: Mapping[str, FileInfo], hidden: bool) -> Iterator[str]:
    """Entries as `ls -R` orders them: a directory's whole content, then each of its directories'."""
    below: dict[str, list[str]] = {}
    for path in found:
        below.setdefault(os.path.dirname(path), []).append(path)
    pending = [""]
    while pending:
        paths = sorted(below.get(pending.pop(), ()), key=raw)
        shown = [path for path in paths if hidden or not os.path.basename(path).startswith(".")]
        yield from shown
        pending.extend(path for path in reversed(shown) if path in below)


def _failure(output: Output, step: str, path: str) -> ApiError:
    """The failure that a command tells, about the file that it names in quotes if it does."""
    where = _QUOTED.search(complaint(output))
    return failure_of(output, step, where[1] if where else path)

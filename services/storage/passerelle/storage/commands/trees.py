"""The operations on trees by GNU coreutils and findutils, where no helper can run.

They tell no progress before their end. What is not whole when they are given up is removed by the shell that runs them,
as far as the system still lets it.
"""

import errno
import os
import secrets
import stat
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import orjson

from passerelle.runtime.command import Output
from passerelle.storage.access.tool_errors import failure_of
from passerelle.storage.commands.boundary import BoundaryCommands
from passerelle.storage.commands.find_output import FIELDS, FORMAT, as_object, entry, named
from passerelle.storage.errors import FileError, not_regular
from passerelle.storage.paths import inside, shown
from passerelle.storage.values import Columns, FileInfo

_THERE = 17  # the status with which our scripts tell that a target is there already
_ODD = 18  # and that it is neither a file nor a directory nor a link
# Copies $1 to the hidden $3 and renames it to $2; $4 says how links are taken, $5 whether $2 may be there.
_COPY = f"""\
[ "$5" ] || {{ [ ! -e "$2" ] && [ ! -L "$2" ]; }} || exit {_THERE}
[ ! -e "$2" ] || [ -f "$2" ] || [ -d "$2" ] || [ -L "$2" ] || exit {_ODD}
if [ -d "$2" ] && [ ! -L "$2" ] && [ -d "$1" ]; then
  exec cp -R "$4" --preserve=mode,timestamps -T -- "$1" "$2"
fi
undo() {{ chmod -R u+rwx -- "$3" 2>/dev/null; rm -rf -- "$3"; exit 1; }}
trap 'undo "$@"' HUP INT TERM
cp -R "$4" --preserve=mode,timestamps -T -- "$1" "$3" || undo "$@"
if [ "$5" ]; then mv -f -T -- "$3" "$2" || undo "$@"; exit 0; fi
mv -n -T -- "$3" "$2" || undo "$@"
if [ -e "$3" ] || [ -L "$3" ]; then rm -rf -- "$3"; exit {_THERE}; fi
"""
_MOVE = f"""\
[ ! "$3" ] || [ ! -e "$2" ] || [ -f "$2" ] || [ -d "$2" ] || [ -L "$2" ] || exit {_ODD}
if [ "$3" ]; then exec mv -f -T -- "$1" "$2"; fi
[ ! -e "$2" ] && [ ! -L "$2" ] || exit {_THERE}
mv -n -T -- "$1" "$2" || exit 1
[ ! -e "$1" ] && [ ! -L "$1" ] || exit {_THERE}
"""
_MEASURE = """\
du -s -D --inodes -- "$1" && du -s -D -B1 --apparent-size -- "$1" && du -s -D -B1 -- "$1"
"""
_QUOTA = """\
mount=$(stat -L -c %m -- "$1") && stat -f -c '%S %b %f %c %d' -- "$1" || exit 1
quota -v -w -p -f "$mount" 2>/dev/null
exit 0
"""
# Each path's own answer: what find prints, which begins with an empty value; then its status and what it complained of.
_STAT = """\
for path; do
  { said=$(find "$follow" "$path" -maxdepth 0 -printf "$format" 2>&1 >&3); } 3>&1
  printf '%s\\0%s\\0' "$?" "$said"
done
"""


class TreeCommands:
    """Operations on trees; `run` runs a program, `piped` yields what one prints, `look` finds out about a file."""

    def __init__(
        self,
        run: Callable[..., Awaitable[Output]],
        piped: Callable[..., AsyncGenerator[bytes, None]],
        look: Callable[[str, bool], Awaitable[FileInfo]],
        boundary: BoundaryCommands,
    ) -> None:
        self._run = run
        self._piped = piped
        self._look = look
        self._boundary = boundary

    async def copy(
        self, path: str, target: str, overwrite: bool, dereference: bool, columns: Columns
    ) -> bytes:
        """See `remote.trees.copy`."""
        source = await self._look(path, dereference)
        if source.letter == "d" and dereference:
            await self._boundary.demand_links(path, deep=True)
        await self._demand_apart(source, path, target)
        directory, name = os.path.split(target)
        part = os.path.join(directory, f".{name[:100]}.{secrets.token_hex(6)}.passerelle-part")
        follow = "-L" if dereference else "-P"
        await self._place(_COPY, path, target, part, follow, "yes" if overwrite else "")
        return await self._about(target, columns)

    async def move(self, path: str, target: str, overwrite: bool, columns: Columns) -> bytes:
        """See `remote.trees.move`."""
        source = await self._look(path, False)
        await self._demand_apart(source, path, target)
        await self._place(_MOVE, path, target, "yes" if overwrite else "")
        return await self._about(target, columns)

    async def _place(self, script: str, path: str, target: str, *options: str) -> None:
        output = await self._script(script, path, target, *options)
        if output.status == _THERE:
            raise FileError("create", target, errno.EEXIST)
        if output.status == _ODD:
            raise not_regular("create", target, (await self._look(target, False)).mode)
        if output.status:
            raise failure_of(output, "create", target)

    async def _demand_apart(self, source: FileInfo, path: str, target: str) -> None:
        if source.letter != "d":
            return
        output = await self._run("readlink", "-m", "-z", "--", target, path)
        real, root = output.stdout.split("\0")[:2]
        if real != root and inside(real, root):
            raise FileError("itself", target, errno.EINVAL)

    async def _about(self, target: str, columns: Columns) -> bytes:
        info = await self._look(target, False)
        return _result(as_object(replace(info, **named(target)), columns))

    async def measure(self, path: str) -> bytes:
        """See `remote.usage.measure`."""
        output = await self._script(_MEASURE, path)
        if output.status:
            raise failure_of(output, "access", path)
        entries, size, allocated = (
            int(line.split("\t")[0]) for line in output.stdout.splitlines() if line[:1].isdigit()
        )
        return _result({"entries": entries, "size": size, "allocated": allocated})

    async def quota(self, path: str) -> bytes:
        """See `remote.usage.quota`."""
        output = await self._script(_QUOTA, path)
        if output.status:
            raise failure_of(output, "access", path)
        line, _, said = output.stdout.partition("\n")
        unit, blocks, free, files, free_files = map(int, line.split())
        room = {
            "used": (blocks - free) * unit,
            "limit": blocks * unit,
            "soft_limit": 0,
            "files_used": files - free_files,
            "files_limit": files,
        }
        return orjson.dumps({"room": room, "said": said})

    async def stat_many(
        self, paths: Sequence[str], dereference: bool, columns: Columns
    ) -> Sequence[dict[str, Any]]:
        """As the lines of `remote.rows.stat_files`, of no more paths than fit into a command line."""
        follow = f"follow={'-L' if dereference else '-P'}"
        output = await self._run("env", follow, f"format={FORMAT}", *_SH, _STAT, "sh", *paths)
        values = iter(output.stdout.split("\0")[:-1])
        return [_answer(path, values, columns) for path in paths]

    async def walk(
        self,
        *,
        stall: float,
        path: str,
        columns: Columns,
        hidden: bool,
        dereference: bool,
        pattern: str,
        max_depth: int,
        types: Sequence[int],
    ) -> AsyncGenerator[bytes, None]:
        """See `remote.walking.walk`."""
        if dereference:
            await self._boundary.demand_links(path, deep=True)
        top = await self._look(path, dereference)
        if top.letter != "d":
            yield orjson.dumps([as_object(replace(top, **named(path)), columns)])
            return
        depth = ("-mindepth", "1", *(("-maxdepth", str(max_depth)) if max_depth else ()))
        shown = () if hidden else ("-name", ".*", "-prune", "-o")
        follow = "-L" if dereference else "-H"
        argv = ("find", follow, path, "-ignore_readdir_race", *depth, *shown, "-printf", FORMAT)
        held = b""
        async with aclosing(self._piped(path, argv, stall)) as pieces:
            async for piece in pieces:
                values = (held + piece).split(b"\0")
                whole = (len(values) - 1) // FIELDS * FIELDS
                held = b"\0".join(values[whole:])
                texts = [value.decode("utf-8", "surrogateescape") for value in values[:whole]]
                found = [entry(texts[at : at + FIELDS]) for at in range(0, whole, FIELDS)]
                wanted = (info for name, info in found if _wanted(name, info, pattern, types))
                yield orjson.dumps([as_object(info, columns) for info in wanted])

    async def _script(self, script: str, *arguments: str) -> Output:
        return await self._run(*_SH, script, "sh", *arguments)


_SH = ("sh", "-c")


def _result(value: dict[str, Any]) -> bytes:
    return orjson.dumps({"entries": 0, "size": 0, "total": 0, "result": value})


def _wanted(name: str, info: FileInfo, pattern: str, types: Sequence[int]) -> bool:
    matches = not pattern or fnmatchcase(os.path.basename(name), pattern)
    return matches and (not types or stat.S_IFMT(info.mode) in types)


def _answer(path: str, values: Any, columns: Columns) -> dict[str, Any]:
    status = next(values)
    if not status:  # an empty value: find's own name for where it began
        _, info = entry(["", *(next(values) for _ in range(FIELDS - 1))])
        told = {"file": as_object(replace(info, **named(path)), columns)}
        next(values), next(values)  # find was content
        return told
    words = next(values).rpartition(": ")[2]  # its own path may have newlines and colons in it
    error = failure_of(Output(int(status), "", f"find: {words}"), "access", path)
    number = error.errno if isinstance(error, FileError) else errno.EIO
    failure = {"step": "access", "path": shown(path), "errno": number, "field": ""}
    return {"failure": failure}

"""The operations on trees by GNU coreutils and findutils.

They report no progress before their end. When they are cancelled, the shell that runs them removes incomplete results,
if the system still allows it.
"""

import errno
import os
import secrets
import stat
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from fnmatch import fnmatchcase

from passerelle.storage.access.tool_errors import failure_of
from passerelle.storage.commands.boundary import PathArgument
from passerelle.storage.commands.find_output import FIELDS, FORMAT, called, entry
from passerelle.storage.commands.runner import CommandRunner, named_failure
from passerelle.storage.errors import FileError, not_regular
from passerelle.storage.paths import inside
from passerelle.storage.quota_output import user_room
from passerelle.storage.values import FileInfo, Progress, Quota, Room, Steps, Usage, Walk

_THERE = 17  # the exit status of our scripts for a target that exists
_ODD = 18  # and for a source that is neither a file nor a directory nor a link
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


class TreeCommands(CommandRunner):
    """Copying, moving, removing, measuring and walking trees."""

    async def copy(
        self, path: str, target: str, *, overwrite: bool, dereference: bool
    ) -> Steps[FileInfo]:
        """See `FileOperations.copy`."""
        await self._boundary.require_inside(
            PathArgument(path, dereference), PathArgument(target, follow=False, field="target")
        )
        source = await self._look(path, dereference)
        if source.letter == "d" and dereference:
            await self._boundary.require_links_inside(path, deep=True)
        await self._require_apart(source, path, target)
        directory, name = os.path.split(target)
        part = os.path.join(directory, f".{name[:100]}.{secrets.token_hex(6)}.passerelle-part")
        follow = "-L" if dereference else "-P"
        await self._put(_COPY, path, target, part, follow, "yes" if overwrite else "")
        yield await self._result(target)

    async def move(self, path: str, target: str, *, overwrite: bool) -> Steps[FileInfo]:
        """See `FileOperations.move`."""
        await self._boundary.require_inside(
            PathArgument(path, follow=False), PathArgument(target, follow=False, field="target")
        )
        source = await self._look(path, False)
        await self._require_apart(source, path, target)
        await self._put(_MOVE, path, target, "yes" if overwrite else "")
        yield await self._result(target)

    async def _put(self, script: str, path: str, target: str, *options: str) -> None:
        output = await self._script(script, path, target, *options)
        if output.status == _THERE:
            raise FileError("create", target, errno.EEXIST)
        if output.status == _ODD:
            raise not_regular("create", target, (await self._look(target, False)).mode)
        if output.status:
            raise failure_of(output, "create", target)

    async def _require_apart(self, source: FileInfo, path: str, target: str) -> None:
        """Raise FileError for a directory that would be copied or moved into itself."""
        if source.letter != "d":
            return
        output = await self._run("readlink", "-m", "-z", "--", target, path)
        real, root = output.stdout.split("\0")[:2]
        if real != root and inside(real, root):
            raise FileError("itself", target, errno.EINVAL)

    async def _result(self, target: str) -> Progress[FileInfo]:
        info = called(target, await self._look(target, False))
        return Progress(0, 0, 0, info, finished=True)

    async def remove(self, path: str) -> Steps[None]:
        """See `FileOperations.remove`."""
        await self._boundary.require_inside(PathArgument(path, follow=False))
        output = await self._run("rm", "-r", "--interactive=never", "--", path)
        if output.status:
            raise named_failure(output, "unlink", path)
        yield Progress(0, 0, 0, finished=True)

    async def measure(self, path: str) -> Steps[Usage]:
        """See `FileOperations.measure`."""
        await self._boundary.require_inside(PathArgument(path))
        output = await self._script(_MEASURE, path)
        if output.status:
            raise failure_of(output, "access", path)
        numbers = [
            int(line.split("\t")[0]) for line in output.stdout.splitlines() if line[:1].isdigit()
        ]
        yield Progress(0, 0, 0, Usage(*numbers), finished=True)

    async def quota(self, path: str) -> Quota:
        """See `FileOperations.quota`."""
        await self._boundary.require_inside(PathArgument(path))
        output = await self._script(_QUOTA, path)
        if output.status:
            raise failure_of(output, "access", path)
        line, _, quota_output = output.stdout.partition("\n")
        unit, blocks, free, files, free_files = map(int, line.split())
        room = Room((blocks - free) * unit, blocks * unit, 0, files - free_files, files)
        return Quota(room, user_room(quota_output))

    async def walk(self, path: str, walk: Walk) -> AsyncGenerator[Sequence[FileInfo], None]:
        """See `FileOperations.walk`."""
        await self._boundary.require_inside(PathArgument(path, walk.dereference))
        if walk.dereference:
            await self._boundary.require_links_inside(path, deep=True)
        top = await self._look(path, walk.dereference)
        if top.letter != "d":
            yield [called(path, top)]
            return
        held = b""
        async with aclosing(self._piped(path, _walking(path, walk))) as pieces:
            async for piece in pieces:
                values = (held + piece).split(b"\0")
                whole = (len(values) - 1) // FIELDS * FIELDS
                held = b"\0".join(values[whole:])
                texts = [value.decode("utf-8", "surrogateescape") for value in values[:whole]]
                entries = [entry(texts[at : at + FIELDS]) for at in range(0, whole, FIELDS)]
                yield [info for name, info in entries if _is_wanted(name, info, walk)]


def _walking(path: str, walk: Walk) -> tuple[str, ...]:
    depth = ("-maxdepth", str(walk.max_depth)) if walk.max_depth else ()
    shown = () if walk.hidden else ("-name", ".*", "-prune", "-o")
    follow = "-L" if walk.dereference else "-H"
    options = ("-ignore_readdir_race", "-mindepth", "1", *depth, *shown, "-printf", FORMAT)
    return ("find", follow, path, *options)


def _is_wanted(name: str, info: FileInfo, walk: Walk) -> bool:
    matches = not walk.pattern or fnmatchcase(os.path.basename(name), walk.pattern)
    return matches and (not walk.types or stat.S_IFMT(info.mode) in walk.types)

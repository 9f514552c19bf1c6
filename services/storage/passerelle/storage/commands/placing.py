"""The operations that write files, by GNU coreutils and findutils: content is placed completely or not at all."""

import errno
import os

from passerelle.runtime.command import Output
from passerelle.storage.access.operations import Refusal, WriteTarget
from passerelle.storage.commands.boundary import PathArgument
from passerelle.storage.commands.find_output import FORMAT, files_in
from passerelle.storage.commands.parts import MAKE_PART, PartCommands
from passerelle.storage.commands.runner import named_failure
from passerelle.storage.errors import FileError, not_regular
from passerelle.storage.values import FileInfo, Progress, Steps, WriteConditions, WriteMode

# Makes the part $1, then removes those in the directory $2 that are older than $3 (of find's -mmin).
_BEGIN = f"""\
{MAKE_PART} || exit
find "$2" -maxdepth 1 -name '.*.passerelle-part' -type f -user "$(id -u)" -mmin "$3" -delete
"""
_CHECKSUM = 'sha256sum < "$1"'
# The part $1 gets the mode $3, or that of a new file, and is synced to disk before it replaces $2.
_READY = 'chmod "${3:-$(umask -S | tr -d x)}" -- "$1" && sync -- "$1" || exit\n'
_OVERWRITE = _READY + 'mv -f -T -- "$1" "$2"'
_CREATE = _READY + 'ln -T -- "$1" "$2" && rm -- "$1"'
# When adding fails, or its connection ends, the file's end is put back where it was.
_APPEND = f"""\
{_READY}end=$(stat -c %s -- "$2") || exit 1
undo() {{ truncate -s "$end" -- "$2"; exit 1; }}
trap 'undo "$@"' HUP INT TERM
cat -- "$1" >> "$2" && sync -- "$2" && rm -- "$1" || undo "$@"
"""


class PlacingCommands(PartCommands):
    """Finding the target of a write, and placing parts."""

    async def write_target(self, path: str) -> WriteTarget:
        """See `FileOperations.write_target`."""
        await self._boundary.require_inside(PathArgument(path))
        real = await self._real(path, "open")
        existing = await self._replaceable(path, real)
        kinds = ("-type", "d", "-executable", "-writable", "-o", "-type", "f", "-writable")
        paths = (os.path.dirname(real), *((real,) if existing else ()))
        output = await self._run("find", "-P", *paths, "-maxdepth", "0", *kinds)
        if output.status:
            raise named_failure(output, "open", path)
        if output.stdout != "".join(f"{name}\n" for name in paths):
            raise FileError("open", path, errno.EACCES)
        return WriteTarget(real, existing.version if existing else None)

    async def _replaceable(self, path: str, real: str) -> FileInfo | None:
        """The file at `real`, or None without one. Raises FileError when it is not a regular file."""
        output = await self._run("find", "-P", real, "-maxdepth", "0", "-printf", FORMAT)
        if output.status:
            error = named_failure(output, "open", path)
            if isinstance(error, FileError) and error.errno == errno.ENOENT:
                return None
            raise error
        info = files_in(output.stdout)[""]
        if info.letter != "-":
            raise not_regular("open", path, info.mode)
        return info

    async def begin_part(self, path: str, part: str, stale: float) -> None:
        """See `FileOperations.begin_part`."""
        await self._boundary.require_inside(PathArgument(path))
        await self._changed_by(_BEGIN, path, part, os.path.dirname(part), f"+{int(stale // 60)}")

    async def place_part(
        self, path: str, part: str, size: int, conditions: WriteConditions
    ) -> Steps[str | Refusal]:
        """See `FileOperations.place_part`."""
        await self._boundary.require_inside(PathArgument(path))
        refusal = await self._wrong_part(path, part, size, conditions.sha256)
        old = await self._there(path)
        version = old.version if old else None
        if not refusal and not conditions.accept(version):
            refusal = Refusal("version", version or "")
        result = refusal or await self._take_place(path, part, conditions.mode, old)
        yield Progress(0, size, size, result, finished=True)

    async def _wrong_part(self, path: str, part: str, size: int, sha256: str) -> Refusal | None:
        try:
            info = await self._look(part)
        except FileError as error:
            raise FileError("part", path, error.errno) from None
        if info.size != size:
            return Refusal("size", str(info.size))
        if sha256:
            actual = (await self._changed_by(_CHECKSUM, path, part)).stdout[:64]
            if actual != sha256:
                return Refusal("sha256", actual)
        return None

    async def _there(self, path: str) -> FileInfo | None:
        try:
            return await self._look(path)
        except FileError as error:
            if error.errno != errno.ENOENT:
                raise
            return None

    async def _take_place(self, path: str, part: str, mode: WriteMode, old: FileInfo | None) -> str:
        if mode is WriteMode.OVERWRITE:
            script = _OVERWRITE
        elif mode is WriteMode.APPEND and old is not None:
            script = _APPEND
        else:
            script = _CREATE
        permissions = f"{old.mode & 0o777:o}" if old else ""
        await self._changed_by(script, path, part, path, permissions)
        return (await self._look(path)).version

    async def _changed_by(self, script: str, path: str, *arguments: str) -> Output:
        """The output of a script. Raises FileError about `path` when it fails."""
        return await self._do("open", path, "sh", "-c", script, "sh", *arguments)

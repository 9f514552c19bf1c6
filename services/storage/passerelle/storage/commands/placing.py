"""The operations that write files, by GNU coreutils and findutils: content takes its place whole or not at all."""

import errno
import os

from passerelle.runtime.command import Output
from passerelle.storage.access.operations import Refusal, WriteTarget
from passerelle.storage.commands.boundary import PathArgument
from passerelle.storage.commands.find_output import FORMAT, files_in
from passerelle.storage.commands.parts import PartCommands
from passerelle.storage.commands.runner import named_failure
from passerelle.storage.errors import FileError, not_regular
from passerelle.storage.values import FileInfo, Progress, Steps, WriteConditions, WriteMode

_SWEEP = """\
find "$1" -maxdepth 1 -name '.*.passerelle-part' -type f -user "$(id -u)" -mmin "$2" -delete
"""
_CHECKSUM = 'sha256sum < "$1"'
_NEW_MODE = 'chmod "$(umask -S | tr -d x)" -- "$1"'
_CREATE = 'ln -T -- "$1" "$2" && rm -- "$1"'
# When adding fails, or its connection ends, the file's end is put back where it was.
_APPEND = """\
end=$(stat -c %s -- "$2") || exit 1
undo() { truncate -s "$end" -- "$2"; exit 1; }
trap 'undo "$@"' HUP INT TERM
cat -- "$1" >> "$2" && sync -- "$2" && rm -- "$1" || undo "$@"
"""


class PlacingCommands(PartCommands):
    """Where writing writes, and how a part takes its place."""

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
        """What is at `real`, or None; FileError when it is no regular file."""
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
        try:
            await self.make_part(part)
        except FileError as error:
            raise FileError(error.step, path, error.errno) from None
        await self._changed_by(_SWEEP, path, os.path.dirname(part), f"+{int(stale // 60)}")

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
        if old is None:
            await self._changed_by(_NEW_MODE, path, part)
        else:
            await self._do("open", path, "chmod", f"{old.mode & 0o777:o}", "--", part)
        await self._do("open", path, "sync", "--", part)
        if mode is WriteMode.OVERWRITE:
            await self._do("open", path, "mv", "-f", "-T", "--", part, path)
        elif mode is WriteMode.APPEND and old is not None:
            await self._changed_by(_APPEND, path, part, path)
        else:
            await self._changed_by(_CREATE, path, part, path)
        return (await self._look(path)).version

    async def _changed_by(self, script: str, path: str, *arguments: str) -> Output:
        """Run a script; a failure is one of the file at `path`."""
        return await self._do("open", path, "sh", "-c", script, "sh", *arguments)

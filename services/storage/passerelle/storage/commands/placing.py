"""The operations of `remote/changing/placing.py` by GNU coreutils and findutils, where no helper can run."""

import errno
import os
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from passerelle.runtime.command import Output
from passerelle.storage.access.tool_errors import failure_of
from passerelle.storage.errors import FileError
from passerelle.storage.files.etags import among
from passerelle.storage.values import FileInfo

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


class PlacingCommands:
    """Operations on parts.

    `run` runs a program, `look` finds out about the file at a path (FileError), `make` makes an empty part.
    """

    def __init__(
        self,
        run: Callable[..., Awaitable[Output]],
        look: Callable[[str], Awaitable[FileInfo]],
        make: Callable[[str], Awaitable[bytes]],
    ) -> None:
        self._run = run
        self._look = look
        self._make = make

    async def begin(self, path: str, part: str, stale: float) -> bytes:
        """See `begin_part`."""
        try:
            await self._make(part)
        except FileError as error:
            raise FileError(error.step, path, error.errno) from None
        await self._script(_SWEEP, path, os.path.dirname(part), f"+{int(stale // 60)}")
        return b""

    async def place(
        self, path: str, part: str, size: int, sha256: str, mode: str, if_match: str
    ) -> bytes:
        """See `place_part`."""
        wrong = await self._wrong_part(path, part, size, sha256)
        old = await self._there(path)
        version = old.version if old else None
        if not wrong and if_match and not among(version, (if_match,)):
            wrong = {"wrong": "version", "found": version or ""}
        found = wrong or {"version": await self._put(path, part, mode, old)}
        return orjson.dumps({"entries": 0, "size": size, "total": size, "result": found})

    async def _wrong_part(
        self, path: str, part: str, size: int, sha256: str
    ) -> dict[str, Any] | None:
        try:
            info = await self._look(part)
        except FileError as error:
            raise FileError("part", path, error.errno) from None
        if info.size != size:
            return {"wrong": "size", "found": str(info.size)}
        if sha256:
            found = (await self._script(_CHECKSUM, path, part)).stdout[:64]
            if found != sha256:
                return {"wrong": "sha256", "found": found}
        return None

    async def _there(self, path: str) -> FileInfo | None:
        try:
            return await self._look(path)
        except FileError as error:
            if error.errno != errno.ENOENT:
                raise
            return None

    async def _put(self, path: str, part: str, mode: str, old: FileInfo | None) -> str:
        if old is None:
            await self._script(_NEW_MODE, path, part)
        else:
            await self._do(path, "chmod", f"{old.mode & 0o777:o}", "--", part)
        await self._do(path, "sync", "--", part)
        if mode == "overwrite":
            await self._do(path, "mv", "-f", "-T", "--", part, path)
        elif mode == "append" and old is not None:
            await self._script(_APPEND, path, part, path)
        else:
            await self._script(_CREATE, path, part, path)
        return (await self._look(path)).version

    async def _script(self, script: str, path: str, *arguments: str) -> Output:
        return await self._do(path, "sh", "-c", script, "sh", *arguments)

    async def _do(self, path: str, *argv: str) -> Output:
        """Run a program; a failure is one of the file at `path`."""
        output = await self._run(*argv)
        if output.status:
            raise failure_of(output, "open", path)
        return output

"""Archives that lie on the system: made and unpacked there by GNU tar, within the time of a command.

tar is run as FirecREST runs it, so that what it says of trouble is what FirecREST's clients know; but what it makes
appears under its name only when it is whole.
"""

import asyncio
import json
import posixpath
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from passerelle.runtime.errors import DeadlineExceeded, Unsupported
from passerelle.storage.archives import UNPACKING, discarded, hidden_part, settled
from passerelle.storage.files import FileError
from passerelle.storage.gnu import refused
from passerelle.storage.sessions import Sessions

T = TypeVar("T")

COMPRESSIONS: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "gzip": ("--gzip",),
    "bzip2": ("--bzip2",),
    "xz": ("--xz",),
}
"""tar's options by FirecREST's names."""

_PLAIN = ("--force-local",)  # a colon in an archive's name makes it no other machine's

# The archive "$1" becomes "$2" when the rest, which makes it, ends well.
_PACKED = """\
part=$1; target=$2; shift 2
"$@" && mv -fT -- "$part" "$target" && exit
status=$?; rm -f -- "$part"; exit "$status"
"""
_FOUND = """\
set -o pipefail
cd -- "$1" && find . -type f -regex "$2" -print0 | "${@:3}"
"""
_UNPACKED = 'mkdir -- "$1" && shift && exec "$@"'


@dataclass(frozen=True, slots=True)
class Tarball:
    """What to pack: `source`, or every file in and below its *parent* whose path, as find(1) sees it from there,
    matches the regular expression `pattern` (of Emacs, as find has them). `compression` is one of COMPRESSIONS."""

    source: str
    compression: str = "gzip"
    dereference: bool = False
    pattern: str | None = None


class Tarballs:
    """The archives on one system, as the current caller. `limit` is the time for one, in seconds.

    What tar does not do raises what `gnu.refused` makes of its words; DeadlineExceeded when it takes longer: then it
    has ended, and nothing is left of its work.
    """

    def __init__(self, sessions: Sessions, limit: float) -> None:
        self._sessions = sessions
        self._limit = limit

    async def compress(self, tarball: Tarball, target: str) -> None:
        """Pack into the archive `target`, replacing a file that is there already."""
        await self._in_time(self._compress(tarball, target))

    async def extract(self, source: str, target: str, compression: str) -> None:
        """Unpack the archive `source` into the directory `target`, replacing files that are there already."""
        await self._in_time(self._extract(source, target, compression))

    async def _compress(self, tarball: Tarball, target: str) -> None:
        with suppress(FileError):  # tar says in its own words what is wrong with the source
            asked = {"path": tarball.source, "dereference": tarball.dereference}
            await self._sessions.call("pack_source", **asked)
        try:
            real = json.loads(await self._sessions.call("target", path=target))["real"]
        except FileError:  # and what is wrong with the target
            await self._run(packing(tarball, target))
            return
        part = hidden_part(real, within=False)
        argv = ("sh", "-c", _PACKED, "sh", part, real, *packing(tarball, part))
        try:
            await self._run(argv, hidden=posixpath.basename(part), name=posixpath.basename(target))
        except BaseException:
            await asyncio.shield(asyncio.create_task(discarded(self._sessions, part)))
            raise

    async def _extract(self, source: str, target: str, compression: str) -> None:
        with suppress(FileError):
            await self._sessions.call("pack_source", path=source, dereference=False)
        try:
            found = json.loads(await self._sessions.call("unpack_target", path=target))
        except FileError:
            found = {"there": False}  # tar will say why
        except Unsupported:  # where there are only plain commands
            found = {"there": False}
            with suppress(FileError):  # but it must not be Outside
                await self._sessions.call("stat", path=target, dereference=True, columns=())
        if not found["there"]:
            await self._run(unpacking(source, target, compression))
            return
        part = hidden_part(found["real"], within=True)
        argv = ("sh", "-c", _UNPACKED, "sh", part, *unpacking(source, part, compression))
        try:
            await self._run(argv, hidden="/" + posixpath.basename(part))
            await settled(self._sessions, found["real"], part, overwrite=True, any_links=True)
        finally:
            await asyncio.shield(asyncio.create_task(discarded(self._sessions, part)))

    async def _run(self, argv: tuple[str, ...], *, hidden: str = "\0", name: str = "") -> None:
        """Run to the end. Its words have `name` where it was told `hidden`, which quoting leaves as it is."""
        async with self._sessions.program(argv) as program:
            output = await program.ended(self._limit)
        if output.status:
            raise refused(replace(output, stderr=output.stderr.replace(hidden, name)))

    async def _in_time(self, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._limit):
                return await work
        except TimeoutError:
            raise DeadlineExceeded("Command execution timeout limit exceeded.") from None


def packing(tarball: Tarball, archive: str) -> tuple[str, ...]:
    """The command that makes the archive."""
    directory, name = posixpath.split(tarball.source)
    dereference = ("--dereference",) if tarball.dereference else ()
    options = (*COMPRESSIONS[tarball.compression], *dereference, *_PLAIN)
    tar = ("tar", "--create", *options, "--file", archive)
    if not tarball.pattern:
        return (*tar, "--directory", directory, "--", name or ".")
    listed = (*tar, "--null", "--files-from=-")
    return ("bash", "-c", _FOUND, "bash", directory, tarball.pattern, *listed)


def unpacking(archive: str, directory: str, compression: str) -> tuple[str, ...]:
    """The command that unpacks the archive into a directory."""
    options = (*COMPRESSIONS[compression], *UNPACKING, *_PLAIN)
    return ("tar", "--extract", *options, "--file", archive, "--directory", directory)

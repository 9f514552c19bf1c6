"""Archives on the system: made and unpacked there by GNU tar, within the time-out for commands.

tar is run as FirecREST runs it, so that its messages are those that FirecREST's clients know. In addition, its source
and target are checked before, and its result gets its name when it is complete.
"""

import asyncio
import errno
import posixpath
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeVar

from passerelle.runtime.command import Output
from passerelle.runtime.errors import DeadlineExceeded, Unsupported
from passerelle.storage.access.guarded import OPENED, reading, within
from passerelle.storage.access.operations import PackSource
from passerelle.storage.access.system_access import SystemAccess
from passerelle.storage.errors import FileError, ProgramFailed
from passerelle.storage.files.archives import (
    AS_WRITTEN,
    UNPACKING,
    cut_off,
    discarded,
    hidden_part,
    require_begun,
    settled,
    unpacked_whole,
)
from passerelle.storage.files.tar_errors import packing_fault, unpacking_fault

T = TypeVar("T")

COMPRESSIONS: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "gzip": ("--gzip",),
    "bzip2": ("--bzip2",),
    "xz": ("--xz",),
}
"""tar's options by FirecREST's names for compressions, which are also the names of the programs that tar runs."""

_PLAIN = ("--force-local",)  # a colon in an archive's name does not make it that of another machine

# Runs the command after the first two arguments, and renames the archive "$1" that it made to "$2" if it succeeds.
_PACKED = """\
part=$1; target=$2; shift 2
"$@" && mv -fT -- "$part" "$target" && exit
status=$?; rm -f -- "$part"; exit "$status"
"""
_FOUND = """\
set -o pipefail
cd -- "$1" && find . -type f -regex "$2" -print0 | "${@:3}"
"""


@dataclass(frozen=True, slots=True)
class Tarball:
    """An archive to make: of `source`, or with a `pattern`, of all files below the *parent* of `source` whose paths
    relative to that match (a regular expression of find(1), in Emacs' syntax). `compression` is one of COMPRESSIONS."""

    source: str
    compression: str = "gzip"
    dereference: bool = False
    pattern: str | None = None


class Tarballs:
    """The archives on one system, as the current caller. `limit` is the time for one, in seconds.

    Every method raises FileError for a path, as ProgramFailed with tar's message where tar reports it, too; the error
    by `tar_errors` when tar fails; and DeadlineExceeded, after which tar has ended. A failed call leaves no files.
    """

    def __init__(self, access: SystemAccess, limit: float) -> None:
        self._access = access
        self._limit = limit

    async def compress(self, tarball: Tarball, target: str) -> None:
        """Pack into the archive `target`; an existing file is replaced."""
        await self._in_time(self._compress(tarball, target))

    async def extract(self, source: str, target: str, compression: str) -> None:
        """Unpack the archive `source` into the directory `target`; existing files are replaced."""
        await self._in_time(self._extract(source, target, compression))

    async def _compress(self, tarball: Tarball, target: str) -> None:
        parent, name = posixpath.split(tarball.source)
        path = parent if tarball.pattern else tarball.source
        follow = tarball.dereference and not tarball.pattern  # a pattern finds no links
        try:
            source = await self._source(path, dereference=follow)
            directory = source.real if tarball.pattern else source.parent
        except FileError as error:  # but tar packs a link without a target
            await self._tried(error, packing(tarball, "/dev/null"))
            directory = (await self._source(parent)).real
        here = replace(tarball, source=f"./{name}")
        try:
            real = (await self._access.query(lambda files: files.write_target(target))).real
        except FileError as error:
            # A file in a read-only directory may be writable itself.
            await self._tried(error, within(directory, *packing(here, target)))
            return
        part = hidden_part(real, within=False)
        packer = ("sh", "-c", _PACKED, "sh", part, real, *within(directory, *packing(here, part)))
        try:
            output = await self._run(packer, {posixpath.basename(part): posixpath.basename(target)})
            require_begun(output, tarball.source)
            if output.status:
                raise ProgramFailed(packing_fault(output, tarball.compression), output)
        except BaseException:
            await asyncio.shield(asyncio.create_task(discarded(self._access, part)))
            raise

    async def _extract(self, source: str, target: str, compression: str) -> None:
        try:
            archive = await self._access.query(lambda files: files.unpack_source(source))
        except FileError as error:
            with suppress(FileError):  # an error Outside about the target has precedence
                await self._directory(target)
            await self._tried(error, listing(source, compression))
            raise
        directory = await self._directory(target)
        if directory is None:
            direct = reading(archive.real, *unpacking(OPENED, target, compression))
            await self._unpack(source, direct, compression)
            return
        part = hidden_part(directory, within=True)
        apart = reading(archive.real, *unpacking(OPENED, part, compression))
        try:
            await self._unpack(source, unpacked_whole(part, *apart), compression, part)
            if archive.truncated and compression == "none":
                raise cut_off()
            await settled(self._access, directory, part, overwrite=True, any_links=True)
        finally:
            await asyncio.shield(asyncio.create_task(discarded(self._access, part)))

    async def _directory(self, target: str) -> str | None:
        """The directory to unpack into, without links; None when tar has to write to the target directly."""
        try:
            directory = await self._access.query(lambda files: files.unpack_target(target))
        except Unsupported:  # there are only plain commands
            with suppress(FileError):  # but it must not be Outside
                await self._access.query(lambda files: files.stat(target, dereference=True))
            return None
        except FileError as error:
            if error.errno == errno.EACCES:  # files in it may be writable
                return None
            raise
        if not directory.exists:
            raise FileError("open", target, errno.ENOENT)
        return directory.real

    async def _unpack(
        self, source: str, argv: tuple[str, ...], compression: str, part: str = ""
    ) -> None:
        hidden = {OPENED: source, **({f"/{posixpath.basename(part)}": ""} if part else {})}
        output = await self._run(argv, hidden)
        require_begun(output, source)
        if output.status:
            raise ProgramFailed(unpacking_fault(output, compression, apart=bool(part)), output)

    async def _tried(self, error: FileError, argv: tuple[str, ...]) -> None:
        """Run tar, and raise its message instead of `error`; returns when tar succeeds in spite of `error`."""
        if error.errno == errno.EINVAL:  # not a regular file: opening it might wait for ever
            raise error
        output = await self._run(argv)
        if output.status:
            raise ProgramFailed(error.meaning, output)

    async def _source(self, path: str, *, dereference: bool = False) -> PackSource:
        return await self._access.query(
            lambda files: files.pack_source(path, dereference=dereference)
        )

    async def _run(
        self, argv: tuple[str, ...], hidden: Mapping[str, str] = MappingProxyType({})
    ) -> Output:
        """Run to the end; the output, with hidden paths replaced by those that the caller named. Quoting does not
        change hidden paths, the keys of `hidden`."""
        async with self._access.program(argv) as program:
            output = await program.ended(self._limit)
        stderr = output.stderr
        for path, original in hidden.items():
            stderr = stderr.replace(path, original)
        return replace(output, stderr=stderr)

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
    tar = ("tar", "--create", *AS_WRITTEN, *options, "--file", archive)
    if not tarball.pattern:
        return (*tar, "--directory", directory, "--", name or ".")
    listed = (*tar, "--null", "--files-from=-")
    return ("bash", "-c", _FOUND, "bash", directory, tarball.pattern, *listed)


def unpacking(archive: str, directory: str, compression: str) -> tuple[str, ...]:
    """The command that unpacks the archive into a directory."""
    options = (*COMPRESSIONS[compression], *UNPACKING, *_PLAIN)
    return ("tar", "--extract", *options, "--file", archive, "--directory", directory)


def listing(archive: str, compression: str) -> tuple[str, ...]:
    """The command that lists the entries of the archive."""
    return ("tar", "--list", *COMPRESSIONS[compression], *_PLAIN, "--file", archive)

"""Archives as streams: packed and unpacked by GNU tar on the system while they travel, without a job or a copy.

What a whole archive is, tar decides: unless it ends well, the stream that it made is an error, and what it has unpacked
is removed.
"""

import asyncio
import json
import posixpath
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass

from passerelle.runtime.command import Output, error_of
from passerelle.runtime.errors import (
    ApiError,
    BackendError,
    ConnectionFailed,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    Overloaded,
    Unsupported,
)
from passerelle.storage.files import FileError, NoSpace
from passerelle.storage.sessions import Sessions

_END_MARK = 1024  # zero bytes at least at the end of every tar archive (POSIX.1-2017, pax, ustar Interchange Format)
_CHANGED = 1  # tar's exit status when a file was not the same at its end as at its beginning
_SIGNALLED = 128  # exit statuses above it are of what a signal ended
_CLEANING = 600.0  # seconds for removing a tree
_FULL = ("No space left on device", "Disk quota exceeded")
_MISSING = ("Cannot exec", "Child returned status 127")

# Files whose names match, by their paths below "$1" in the directory "$2"; everything after that is tar's argv.
_FOUND = """\
set -o pipefail
cd -- "$2" && find "$1" . ! -type d -name "$3" -printf "$4" | "${@:5}"
"""

# What was unpacked goes when tar fails, also when nobody is there any more to ask for it.
_UNPACKED = """\
part=$1; shift
mkdir -- "$part" || exit
"$@" && exit
status=$?; chmod -R u+rwX -- "$part"; rm -rf -- "$part"; exit "$status"
"""
_DISCARDED = 'chmod -R u+rwX -- "$1" && rm -rf -- "$1"'


@dataclass(frozen=True, slots=True)
class Format:
    """How an archive is packed: ending of file names, media type, tar's options, and the program they need."""

    suffix: str
    media_type: str
    options: tuple[str, ...]
    program: str


TAR = Format(".tar", "application/x-tar", (), "tar")
TAR_GZ = Format(".tar.gz", "application/gzip", ("--gzip",), "gzip")
# `--zstd` itself is newer than the tar of RHEL 8.
TAR_ZST = Format(".tar.zst", "application/zstd", ("--use-compress-program=zstd",), "zstd")


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a path is packed: what links lead to; only files whose names match a shell pattern, if there is one."""

    dereference: bool = False
    pattern: str = ""


class Archives:
    """The archives of one system, as the current caller.

    Every method raises FileError for what the system refuses, Unsupported where a program is missing, and
    ConnectionFailed, Overloaded or DeadlineExceeded for the way there. Cancelling a call ends tar.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def packed(
        self, path: str, packing: Format, selection: Selection
    ) -> AsyncGenerator[bytes, None]:
        """A file or a directory as an archive, its entries under its own name, piece by piece.

        What tar could not pack as it was, a file that changed meanwhile included, is an error: before the first piece
        when the archive is small, else before the last one.
        """
        asked = self._sessions.call("pack_source", path=path, dereference=selection.dereference)
        source = json.loads(await asked)
        argv = _packing(source["real"], source["directory"], packing, selection)
        async with self._sessions.program(argv) as tar, aclosing(tar.pieces()) as pieces:
            held = await anext(pieces)
            async for piece in pieces:
                yield held
                held = piece
            output = await tar.ended()
            if output.status:
                raise _failure(output, packing)
            yield held

    async def unpack(
        self, path: str, packing: Format, content: AsyncIterator[bytes], *, overwrite: bool
    ) -> int:
        """Unpack an archive into the directory `path`, which is made when it is not there; how many entries it had.

        They appear there only when all of it has been unpacked. Files that are there already are replaced when
        `overwrite` says so; FileError (EEXIST) if not. InvalidArgument for what is no archive, or leads out of the
        directory.
        """
        target = json.loads(await self._sessions.call("unpack_target", path=path))
        part = hidden_part(target["real"], within=target["there"])
        try:
            await self._unpack(part, packing, content)
            return await settled(self._sessions, target["real"], part, overwrite=overwrite)
        except FileError as error:
            raise _content_error(error) from None
        finally:
            await asyncio.shield(asyncio.create_task(discarded(self._sessions, part)))

    async def _unpack(self, part: str, packing: Format, content: AsyncIterator[bytes]) -> None:
        arrived = _Arrived(content)
        tar = ("tar", "--extract", *packing.options, *UNPACKING, "--directory", part, "--file=-")
        async with self._sessions.program(("sh", "-c", _UNPACKED, "sh", part, *tar)) as program:
            await program.feed(arrived.pieces())
            output = await program.ended()
        if not arrived.size:
            raise InvalidArgument("The body is empty: it must be an archive.")
        if output.status:
            raise _unpack_failure(output, packing)
        if packing is TAR and not arrived.complete:
            raise InvalidArgument("The archive is cut off: its end mark is missing.")


UNPACKING = ("--no-same-owner", "--no-same-permissions", "--delay-directory-restore")
"""tar's options for archives from anywhere: nobody else's files, no setuid or setgid, modes less the umask."""


class _Arrived:
    """Content that passes by: its size so far, and whether it ends as a tar archive does."""

    def __init__(self, content: AsyncIterator[bytes]) -> None:
        self.size = 0
        self._content = content
        self._last = b""

    @property
    def complete(self) -> bool:
        return self._last == bytes(_END_MARK)

    async def pieces(self) -> AsyncIterator[bytes]:
        async for piece in self._content:
            self.size += len(piece)
            self._last = (self._last + piece[-_END_MARK:])[-_END_MARK:]
            yield piece


def hidden_part(real: str, *, within: bool) -> str:
    """A new name for the tree that shall become the directory `real`, on its filesystem: in it, or else beside it."""
    directory = real if within else posixpath.dirname(real)
    return posixpath.join(directory, f".{secrets.token_hex(16)}.passerelle-part")


async def settled(
    sessions: Sessions, real: str, part: str, *, overwrite: bool, any_links: bool = False
) -> int:
    """Put the unpacked tree `part` where it belongs; how many entries it has. See `remote.packing.settle`."""
    entries = 0
    settling = sessions.progress(
        "settle", path=real, part=part, overwrite=overwrite, any_links=any_links
    )
    async with aclosing(settling) as progress:
        async for so_far in progress:
            entries = so_far.entries
    return entries


async def discarded(sessions: Sessions, part: str) -> None:
    """Remove what is left of `part`, over a new connection if need be; a system that cannot be reached keeps it."""
    for _ in range(2):  # the connection may be what was lost
        with suppress(ConnectionFailed, DeadlineExceeded, Overloaded):
            async with sessions.program(("sh", "-c", _DISCARDED, "sh", part)) as program:
                await program.ended(_CLEANING)
                return


def _content_error(error: FileError) -> ApiError:
    """What is wrong with the archive, when that is why its tree was not put in its place."""
    wrong = {
        "link": "is a link that leads out of the directory",
        "device": "is a device",
    }
    if error.step not in wrong:
        return error
    return InvalidArgument(f"The archive is refused: {error.path} {wrong[error.step]}.")


def _packing(real: str, directory: bool, packing: Format, selection: Selection) -> tuple[str, ...]:
    parent, name = posixpath.split(real)
    dereference = ("--dereference",) if selection.dereference else ()
    tar = ("tar", "--create", *packing.options, *dereference, "--file=-")
    if not (directory and selection.pattern):
        return (*tar, "--directory", parent, "--", name or ".")
    listed = (*tar, "--directory", parent, "--no-recursion", "--null", "--files-from=-")
    follow = "-L" if selection.dereference else "-P"
    # find's own escapes in the name must stay what they are
    prefix = name.replace("\\", "\\\\").replace("%", "%%")
    below = rf"{prefix}/%P\0" if name else r"%P\0"
    return ("bash", "-c", _FOUND, "bash", follow, real, selection.pattern, below, *listed)


def _failure(output: Output, packing: Format) -> ApiError:
    words = output.stderr.strip()
    if any(text in words for text in _MISSING):
        return Unsupported(
            f"The system has no program {packing.program}: ask for another format "
            f"({', '.join(known.suffix[1:] for known in (TAR_GZ, TAR_ZST, TAR) if known is not packing)})."
        )
    if any(text in words for text in _FULL):
        return NoSpace(words)
    if output.status > _SIGNALLED:
        return BackendError("tar was ended on the system.")
    if output.status == _CHANGED:
        return FailedPrecondition(words)
    return error_of(output)


def _unpack_failure(output: Output, packing: Format) -> ApiError:
    """Whatever tar does not take in a directory of its own is the archive's fault."""
    found = _failure(output, packing)
    if isinstance(found, Unsupported | NoSpace) or output.status > _SIGNALLED:
        return found
    return InvalidArgument(f"The archive cannot be unpacked: {output.stderr.strip()}")

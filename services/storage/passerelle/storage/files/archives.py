"""Archives as streams: packed and unpacked by GNU tar on the system while they travel, without a job or a copy.

tar decides whether an archive is complete. When tar fails, the stream that it packed ends with an error, and the files
that it unpacked are removed.
"""

import asyncio
import posixpath
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass

from passerelle.runtime.command import Output
from passerelle.runtime.errors import (
    ApiError,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidArgument,
    Overloaded,
    Unsupported,
)
from passerelle.storage.access.guarded import MOVED, within
from passerelle.storage.access.operations import PackSource
from passerelle.storage.access.system_access import SystemAccess
from passerelle.storage.access.tool_errors import failure_of
from passerelle.storage.errors import Changed, FileError
from passerelle.storage.files.tar_errors import packing_fault, unpacking_fault
from passerelle.storage.remote.changing.packing import END_MARK

_UNMADE = 97  # the exit status when the directory to unpack in could not be made
_CLEANING = 600.0  # seconds for removing a tree

# Files whose names match; everything after the pattern is tar's argv.
_FOUND = """\
set -o pipefail
find "$1" . ! -type d -name "$2" -print0 | "${@:3}"
"""

# The shell removes the unpacked files when tar fails, because the connection may be lost by then.
_UNPACKED = f"""\
part=$1; shift
mkdir -- "$part" || exit {_UNMADE}
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
    """The files below a path to pack: whether links are followed, and a shell pattern for names, if there is one."""

    dereference: bool = False
    pattern: str = ""


class Archives:
    """The archives of one system, as the current caller.

    Every method raises FileError when the system refuses, Unsupported when a program is missing, and ConnectionFailed,
    Overloaded or DeadlineExceeded when the system cannot be reached. Cancelling a call ends tar.
    """

    def __init__(self, access: SystemAccess) -> None:
        self._access = access

    async def packed(
        self, path: str, packing: Format, selection: Selection
    ) -> AsyncGenerator[bytes, None]:
        """The pieces of an archive of a file or directory; the entries begin with its own name.

        Raises an error when tar could not pack a file, or when one changed meanwhile: before the first piece when the
        archive is small, else before the last one.
        """
        source = await self._access.query(
            lambda files: files.pack_source(path, dereference=selection.dereference)
        )
        argv = _packing(source, packing, selection)
        async with self._access.program(argv) as tar, aclosing(tar.pieces()) as pieces:
            held = await anext(pieces)
            async for piece in pieces:
                yield held
                held = piece
            output = await tar.ended()
            if output.status:
                raise _packing_failure(output, packing, path)
            yield held

    async def unpack(
        self, path: str, packing: Format, content: AsyncIterator[bytes], *, overwrite: bool
    ) -> int:
        """Unpack an archive into the directory `path`, which is made if necessary; the number of its entries.

        The entries appear there when all of the archive was unpacked. `overwrite` replaces existing files. Raises
        FileError (EEXIST) when a file exists and must not be replaced, InvalidArgument for content that is not an
        archive, or that leads out of the directory.
        """
        target = await self._access.query(lambda files: files.unpack_target(path))
        part = hidden_part(target.real, within=target.exists)
        try:
            await self._unpack(path, part, packing, content)
            return await settled(self._access, target.real, part, overwrite=overwrite)
        finally:
            await asyncio.shield(asyncio.create_task(discarded(self._access, part)))

    async def _unpack(
        self, path: str, part: str, packing: Format, content: AsyncIterator[bytes]
    ) -> None:
        arrived = _Arrived(content)
        tar = ("tar", "--extract", *packing.options, *UNPACKING, "--directory", part, "--file=-")
        async with self._access.program(unpacked_whole(part, *tar)) as program:
            await program.feed(arrived.pieces())
            output = await program.ended()
        if not arrived.size:
            raise InvalidArgument("The body is empty: it must be an archive.")
        if output.status:
            raise _unpack_failure(output, packing, path)
        if packing is TAR and not arrived.complete:
            raise cut_off()


AS_WRITTEN = ("--no-unquote",)
r"""tar's option for names that are what they are: it would else take `\n` in one for a line break."""

UNPACKING = ("--no-same-owner", "--no-same-permissions", "--delay-directory-restore")
"""tar's options for untrusted archives: files belong to the user, no setuid or setgid, the umask applies."""


class _Arrived:
    """A pass-through for content that records its size, and whether it ends as a tar archive does."""

    def __init__(self, content: AsyncIterator[bytes]) -> None:
        self.size = 0
        self._content = content
        self._last = b""

    @property
    def complete(self) -> bool:
        return self._last == bytes(END_MARK)

    async def pieces(self) -> AsyncIterator[bytes]:
        async for piece in self._content:
            self.size += len(piece)
            self._last = (self._last + piece[-END_MARK:])[-END_MARK:]
            yield piece


def unpacked_whole(part: str, *argv: str) -> tuple[str, ...]:
    """A command that makes the directory `part` and runs `argv`, which unpacks into it; a failure removes `part`."""
    return ("sh", "-c", _UNPACKED, "sh", part, *argv)


def cut_off() -> InvalidArgument:
    """The error for an uncompressed archive that is cut off."""
    return InvalidArgument(
        "The archive is cut off, or something else stands behind it: it does not end with tar's end mark."
    )


def hidden_part(real: str, *, within: bool) -> str:
    """A new path for the tree that will become the directory `real`: `within` that directory, or else beside it."""
    directory = real if within else posixpath.dirname(real)
    return posixpath.join(directory, f".{secrets.token_hex(16)}.passerelle-part")


async def settled(
    access: SystemAccess, real: str, part: str, *, overwrite: bool, any_links: bool = False
) -> int:
    """Move the unpacked tree `part` to `real`; the number of its entries. See `remote.packing.place_tree`.

    Raises InvalidArgument for entries that an archive must not have, FileError when the system refuses.
    """
    entries = 0
    settling = access.stream(
        lambda files: files.place_tree(real, part, overwrite=overwrite, any_links=any_links)
    )
    async with aclosing(settling) as progress:
        try:
            async for so_far in progress:
                entries = so_far.entries
        except FileError as error:
            raise _content_error(error) from None
    return entries


async def discarded(access: SystemAccess, part: str) -> None:
    """Remove `part`, over a new connection if necessary; it stays on a system that cannot be reached."""
    for _ in range(2):  # the first attempt may find that its connection was lost
        with suppress(ConnectionFailed, DeadlineExceeded, Overloaded):
            async with access.program(("sh", "-c", _DISCARDED, "sh", part)) as program:
                await program.ended(_CLEANING)
                return


def _content_error(error: FileError) -> ApiError:
    """The error for the caller when a tree was not placed: InvalidArgument if the archive is to blame."""
    violations = {
        "link": "is a link that leads out of the directory",
        "device": "is a device",
    }
    if error.step not in violations:
        return error
    return InvalidArgument(f"The archive is refused: {error.path} {violations[error.step]}.")


def _packing(source: PackSource, packing: Format, selection: Selection) -> tuple[str, ...]:
    parent, name = posixpath.split(source.real)
    dereference = ("--dereference",) if selection.dereference else ()
    tar = ("tar", "--create", *AS_WRITTEN, *packing.options, *dereference, "--file=-")
    if not (source.directory and selection.pattern):
        return within(parent, *tar, "--", name or ".")
    renamed = f"--transform=s/^[.]/{_replacement(name)}/S" if name else "--transform=s/^[.].//S"
    listed = (*tar, renamed, "--no-recursion", "--null", "--files-from=-")
    follow = "-L" if selection.dereference else "-P"
    return within(source.real, "bash", "-c", _FOUND, "bash", follow, selection.pattern, *listed)


def _replacement(name: str) -> str:
    """A name, escaped for the replacement of tar's option --transform, which is like sed's command `s`."""
    return name.replace("\\", r"\\").replace("&", r"\&").replace("\n", r"\n")


def require_begun(output: Output, path: str) -> None:
    """Raise an error when tar was never started: FileError when its directory could not be made, Changed when `path`
    leads elsewhere than when it was checked (`guarded`)."""
    if output.status == MOVED:
        raise Changed(path)
    if output.status == _UNMADE:
        raise failure_of(output, "mkdir", path)


def _packing_failure(output: Output, packing: Format, path: str) -> ApiError:
    require_begun(output, path)
    return _worded(packing_fault(output, packing.program), output.stderr.strip(), packing)


def _unpack_failure(output: Output, packing: Format, path: str) -> ApiError:
    require_begun(output, path)
    kind = unpacking_fault(output, packing.program, apart=True)
    words = output.stderr.strip()
    message = f"The archive cannot be unpacked: {words}" if kind is InvalidArgument else words
    return _worded(kind, message, packing)


def _worded(kind: type[ApiError], words: str, packing: Format) -> ApiError:
    if kind is Unsupported:
        others = ", ".join(
            format_.suffix[1:] for format_ in (TAR_GZ, TAR_ZST, TAR) if format_ is not packing
        )
        words = f"The system has no program {packing.program}: ask for another format ({others})."
    return kind(words or "tar was ended on the system.")

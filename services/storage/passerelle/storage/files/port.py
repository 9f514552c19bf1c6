"""The Files port: what can be done with the files of one system, as the current caller.

Paths are absolute and normalised; names in answers are text in which a byte that is not UTF-8 stands as a backslash and
three octal digits. `SystemFiles` (system_files.py) is the implementation over SSH.
"""

import errno
import os
import stat
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, Protocol

import grpc

from passerelle.runtime.errors import (
    AlreadyExists,
    ApiError,
    BackendError,
    FailedPrecondition,
    Field,
    Forbidden,
    InvalidArgument,
    NotFound,
    TooLarge,
)
from passerelle.storage.files.write_conditions import REPLACING, Terms
from passerelle.storage.remote.outcome import kind_words, text, wrong_kind


class NoSpace(ApiError):
    """The system's disk is full, or the user's quota is used up."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "NO_SPACE"
    http = 507


# What a system call's failure means to a caller; anything else is the system's own trouble.
_MEANINGS: Mapping[int, type[ApiError]] = {
    errno.ENOENT: NotFound,
    errno.EACCES: Forbidden,
    errno.EPERM: Forbidden,
    errno.EROFS: Forbidden,
    errno.EEXIST: AlreadyExists,
    errno.EISDIR: FailedPrecondition,
    errno.ENOTDIR: FailedPrecondition,
    errno.ENOTEMPTY: FailedPrecondition,
    errno.EBUSY: FailedPrecondition,
    errno.ETXTBSY: FailedPrecondition,
    errno.ELOOP: FailedPrecondition,
    errno.EINVAL: FailedPrecondition,
    errno.ENAMETOOLONG: InvalidArgument,
    errno.EFBIG: TooLarge,
    errno.ENOSPC: NoSpace,
    errno.EDQUOT: NoSpace,
}


def meaning(number: int) -> type[ApiError]:
    """What the errno of a failed system call means to a caller."""
    return _MEANINGS.get(number, BackendError)


def shown(path: str) -> str:
    """A path whose wrong bytes are lone surrogates (PEP 383), for people and messages: those bytes in octal."""
    return text(path.encode("utf-8", "surrogateescape"))


class FileError(ApiError):
    """A file operation that the system refused: `step` (access, open, read, write, mkdir, unlink …), `path`, `errno`.

    It travels as the error that its errno means, in the words of strerror(3) if there are no better ones.
    """

    def __init__(self, step: str, path: str, number: int, words: str = "") -> None:
        self.meaning = meaning(number)
        self.words = words or os.strerror(number)
        path = shown(path)
        super().__init__(f"{path}: {self.words}", path=path, errno=errno.errorcode.get(number, ""))
        self.code = self.meaning.code  # type: ignore[misc]  # it speaks for another error
        self.reason = self.meaning.reason  # type: ignore[misc]
        self.http = self.meaning.http  # type: ignore[misc]
        self.step = step
        self.path = path
        self.errno = number


def not_regular(step: str, path: str, mode: int) -> FileError:
    """The error for what has to be a regular file and is something else, by its `mode`."""
    return FileError(step, path, wrong_kind(mode), kind_words(mode))


class Outside(InvalidArgument):
    """A path leads out of the filesystems of its system: `path`, as given in `field`, and `system`."""

    def __init__(self, field: str, path: str, system: str) -> None:
        self.path = shown(path)
        self.system = system
        wrong = f"leads out of the filesystems of system {system}"
        super().__init__(f"{field} {wrong}: {self.path}", (Field("query", field, wrong),))


def error_told(said: Mapping[str, Any], system: str) -> ApiError:
    """The error that a failure of the remote helper is, as it travels (`remote.outcome.described`)."""
    if said["step"] == "boundary":
        return Outside(said["field"], said["path"], system)
    if said["errno"]:
        return FileError(said["step"], said["path"], said["errno"], said.get("words", ""))
    return BackendError(f"A file operation failed on system {system}.")


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What is known about a file. `local_time` is the last change in the system's own time, without a zone; the
    `_ns` times are nanoseconds since the epoch; `mode` is stat(2)'s, with the bits of the type; `raw_hex` is the name's
    bytes in hexadecimal when they are not UTF-8."""

    name: str
    raw_hex: str | None
    target: str | None
    size: int
    mode: int
    uid: int
    gid: int
    user: str
    group: str
    local_time: str
    mtime_ns: int
    atime_ns: int
    ctime_ns: int
    inode: int
    device: int
    links: int

    @property
    def raw_name(self) -> bytes | None:
        """The name's bytes, when they are not UTF-8."""
        return None if self.raw_hex is None else bytes.fromhex(self.raw_hex)

    @property
    def version(self) -> str:
        """A text that changes whenever the file's content does: its ETag."""
        return f"{self.inode:x}-{self.size:x}-{self.mtime_ns:x}"

    @property
    def letter(self) -> str:
        """The type as `ls` prints it: `-`, `d`, `l`, `p`, `s`, `c`, `b` or `?`."""
        return stat.filemode(self.mode)[0]

    @property
    def permissions(self) -> str:
        """The nine letters of `ls`."""
        return stat.filemode(self.mode)[1:]

    @property
    def size_text(self) -> str:
        """The size in digits."""
        return str(self.size)

    @property
    def uid_text(self) -> str:
        """The owner's id in digits."""
        return str(self.uid)

    @property
    def gid_text(self) -> str:
        """The group's id in digits."""
        return str(self.gid)


Columns = Sequence[tuple[str, str]]
"""The keys that a JSON object about a file shall have, each with the FileInfo attribute that is its value."""

EVERYTHING: Columns = tuple((field.name, field.name) for field in fields(FileInfo))


@dataclass(frozen=True, slots=True)
class Listing:
    """What a listing includes: hidden entries, subdirectories, what links point to.

    At most `count` entries, of those whose last component matches the shell pattern and that come behind the one named
    `after`, if any.
    """

    hidden: bool = False
    recursive: bool = False
    dereference: bool = False
    pattern: str = ""
    after: str = ""
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A piece of a file: what lies before (else after) the mark `count` units from its beginning (else its end)."""

    unit: Literal["lines", "bytes"]
    count: int
    from_end: bool
    before: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long operation is: entries and bytes done, bytes in all (0 when not known), its result at its end.

    `finished` tells the end of one that has no result.
    """

    entries: int
    size: int
    total: int
    result: Any = None
    finished: bool = False


class Written(NamedTuple):
    """What was written: bytes, their SHA-256 in lower-case hexadecimal, and the version of the file (its ETag) now."""

    size: int
    sha256: str
    version: str = ""


class OpenFile(Protocol):
    """A file being read: its size when it was opened, in bytes, and a text that changes whenever the file does."""

    size: int
    version: str

    def chunks(self, offset: int, length: int) -> AsyncIterator[bytes]:
        """Its bytes from `offset` on, exactly `length` of them; FileError when the file turns out shorter.

        Fails before the last of them when the file was changed meanwhile.
        """
        ...


class Files(Protocol):
    """The files of one system.

    Every method raises FileError for what the system refuses, ConnectionFailed, Overloaded or DeadlineExceeded for the
    way there. Cancelling a call gives up its work on the system.
    """

    async def notes(self) -> Sequence[str]:
        """What the caller's account lacks on the system, and what is used instead."""
        ...

    async def stat(self, path: str, *, dereference: bool = False) -> FileInfo:
        """What is known about a file; `dereference` follows a final link."""
        ...

    async def list(self, path: str, listing: Listing) -> Sequence[FileInfo]:
        """A directory's entries in byte order, or the one file that `path` is."""
        ...

    async def table(self, path: str, listing: Listing, columns: Columns) -> bytes:
        """The same as a finished JSON array of objects with these columns."""
        ...

    async def row(self, path: str, columns: Columns, *, dereference: bool = False) -> bytes:
        """What is known about a file as a finished JSON object with these columns."""
        ...

    async def read(self, path: str, offset: int, length: int, limit: int | None = None) -> bytes:
        """At most `length` bytes from `offset` on; TooLarge for a file of more than `limit` bytes."""
        ...

    async def excerpt(self, path: str, excerpt: Excerpt, limit: int) -> bytes:
        """A piece of a file; TooLarge when it has more than `limit` bytes."""
        ...

    async def make_directory(self, path: str, columns: Columns, *, parents: bool = False) -> bytes:
        """Make a directory; the finished JSON object about it. `parents` makes missing ones and accepts existing."""
        ...

    async def remove(self, path: str) -> None:
        """Remove a file, a link (not what it points to), or a directory with all that is in it."""
        ...

    def opened(self, path: str) -> AbstractAsyncContextManager[OpenFile]:
        """A file to be read as a stream of any size, in constant memory."""
        ...

    async def demand_writable(self, path: str) -> str:
        """Where writing to `path` would write: its path without links. Raises FileError unless that is a regular file
        that may be replaced, or one that can be made."""
        ...

    async def write(
        self, path: str, chunks: AsyncIterator[bytes], terms: Terms = REPLACING
    ) -> Written:
        """Write a file of any size in constant memory.

        It appears under its name, whole, only when `chunks` has ended without an error, and on the `terms`:
        InvalidArgument when its checksum is another, PreconditionFailed or FileError (EEXIST) for what is there.
        """
        ...

"""The values of file operations: what is known about files, what is asked for, and what came of it.

Names in answers are text in which a byte that is not UTF-8 stands as a backslash and three octal digits.
"""

import stat
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, fields
from enum import Enum
from typing import Generic, Literal, NamedTuple, NewType, TypeVar, cast

T = TypeVar("T")


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
    def mtime(self) -> int:
        """The last change of the content, in whole seconds since the epoch."""
        return self.mtime_ns // 10**9

    @property
    def atime(self) -> int:
        """The last access, likewise."""
        return self.atime_ns // 10**9

    @property
    def ctime(self) -> int:
        """The last change of attributes, likewise."""
        return self.ctime_ns // 10**9

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
"""The columns of a FileInfo."""

Row = NewType("Row", bytes)
"""A JSON object with the `Columns` that were asked for: made on the system, and passed on as it is."""

Table = NewType("Table", bytes)
"""A JSON array of objects with the `Columns` that were asked for: made on the system, and passed on as it is."""


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
class Progress(Generic[T]):
    """How far a long operation is: entries and bytes done, bytes in all (0 when not known), its result at its end.

    `finished` marks the end, also of an operation that has no result.
    """

    entries: int
    size: int
    total: int
    result: T | None = None
    finished: bool = False


Steps = AsyncGenerator[Progress[T], None]
"""A long operation: its progress about once a second. Closing it before its end cancels the work on the system."""


async def finished(steps: Steps[T]) -> T:
    """The result of a long operation, when it has ended; raises what the operation raises."""
    async with aclosing(steps):
        async for step in steps:
            last = step
    return cast(T, last.result)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tree takes, as du(1) counts: entries, bytes in files, and bytes allocated on the disk."""

    entries: int
    size: int
    allocated: int


class Written(NamedTuple):
    """What was written: bytes, their SHA-256 in lower-case hexadecimal, and the version of the file (its ETag) now."""

    size: int
    sha256: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Walk:
    """What a walk tells of: entries whose last component matches `pattern`, if any, of these `types` (stat(2)'s
    S_IFREG …; all when empty), at most `max_depth` levels down (0 for all)."""

    hidden: bool = False
    dereference: bool = False
    pattern: str = ""
    max_depth: int = 0
    types: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Room:
    """What is used and may be used: bytes and files, 0 for no limit; warnings begin at `soft_limit` bytes."""

    used: int
    limit: int
    soft_limit: int
    files_used: int
    files_limit: int


@dataclass(frozen=True, slots=True)
class Quota:
    """How much room there is on a filesystem, and for the user alone, where the system keeps quotas."""

    filesystem: Room
    user: Room | None


class WriteMode(Enum):
    """What writing does to a file that is there already: replace it, refuse, or add to its end."""

    OVERWRITE = "overwrite"
    CREATE = "create"
    APPEND = "append"


@dataclass(frozen=True, slots=True)
class WriteConditions:
    """On what conditions content may take its place.

    `if_match` is the ETag (without quotes) of the version that must be there, `*` for any; empty for whatever there is.
    `sha256` is what the content must have, in lower-case hexadecimal; empty when nobody knows.
    """

    mode: WriteMode = WriteMode.OVERWRITE
    if_match: str = ""
    sha256: str = ""

    @property
    def depend_on_target(self) -> bool:
        """Whether content may be refused for what is there, or is not."""
        return self.mode is WriteMode.CREATE or bool(self.if_match)

    def accept(self, version: str | None) -> bool:
        """Whether `if_match` names the version that is there; None where there is no file."""
        return not self.if_match or (version is not None and self.if_match in ("*", version))


REPLACE = WriteConditions()
"""Whatever is there is replaced."""

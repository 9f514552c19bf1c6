"""The values of file operations: attributes of files, options, and results.

Names in results are text in which a byte that is not UTF-8 is a backslash and three octal digits.
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
    """The attributes of a file. `local_time` is the last change in the system's own time, without a zone; the
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
    """The options of a listing: whether it has hidden entries, has subdirectories' entries, and follows links.

    It has at most `count` entries: those whose last component matches the shell pattern, and that are sorted after the
    name `after`, if there are these.
    """

    hidden: bool = False
    recursive: bool = False
    dereference: bool = False
    pattern: str = ""
    after: str = ""
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Part of a file: all before (else after) the mark that is `count` units from the beginning (else the end)."""

    unit: Literal["lines", "bytes"]
    count: int
    from_end: bool
    before: bool


@dataclass(frozen=True, slots=True)
class Progress(Generic[T]):
    """The progress of a long operation: entries and bytes done, the total of bytes (0 when unknown), and the result.

    `finished` marks the end, also of an operation without a result.
    """

    entries: int
    size: int
    total: int
    result: T | None = None
    finished: bool = False


Steps = AsyncGenerator[Progress[T], None]
"""A long operation: its progress about once a second. Closing it before its end cancels the work on the system."""


async def finished(steps: Steps[T]) -> T:
    """Wait for the end of a long operation; its result. Raises the operation's errors."""
    async with aclosing(steps):
        async for step in steps:
            last = step
    return cast(T, last.result)


@dataclass(frozen=True, slots=True)
class Usage:
    """The disk usage of a tree, as du(1) counts: entries, bytes in files, and bytes allocated on the disk."""

    entries: int
    size: int
    allocated: int


class Written(NamedTuple):
    """The result of a write: its bytes, their SHA-256 in lower-case hexadecimal, and the new ETag of the file."""

    size: int
    sha256: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Walk:
    """The options of a walk: entries whose last component matches `pattern`, if any, of these `types` (stat(2)'s
    S_IFREG …; all when empty), at most `max_depth` levels down (0 for all)."""

    hidden: bool = False
    dereference: bool = False
    pattern: str = ""
    max_depth: int = 0
    types: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Room:
    """Used amounts and limits, in bytes and files; 0 for no limit. Warnings begin at `soft_limit` bytes."""

    used: int
    limit: int
    soft_limit: int
    files_used: int
    files_limit: int


@dataclass(frozen=True, slots=True)
class Quota:
    """The used and free space of a filesystem, and the user's quota where the system has quotas."""

    filesystem: Room
    user: Room | None


class WriteMode(Enum):
    """The treatment of an existing file by a write: replace it, refuse, or append."""

    OVERWRITE = "overwrite"
    CREATE = "create"
    APPEND = "append"


@dataclass(frozen=True, slots=True)
class WriteConditions:
    """The conditions of a write.

    `if_match` is the ETag (without quotes) that the existing file must have, `*` for any file; empty without a
    condition. `sha256` is that of the content, in lower-case hexadecimal; empty when unknown.
    """

    mode: WriteMode = WriteMode.OVERWRITE
    if_match: str = ""
    sha256: str = ""

    @property
    def depend_on_target(self) -> bool:
        """Whether the existing file, or its absence, can violate the conditions."""
        return self.mode is WriteMode.CREATE or bool(self.if_match)

    def accept(self, version: str | None) -> bool:
        """Whether `if_match` allows the existing file's `version` (None without a file)."""
        return not self.if_match or (version is not None and self.if_match in ("*", version))


REPLACE = WriteConditions()
"""An existing file is replaced, whatever its version."""

"""The replies of FirecREST v2's file operations; every key is always present."""

from typing import Literal

from typing_extensions import TypedDict


class FileReply(TypedDict):
    """A file as `ls -l` shows it; `lastModified` in the system's local time."""

    name: str
    type: str
    linkTarget: str | None
    user: str
    group: str
    permissions: str
    lastModified: str
    size: str


class StatFields(TypedDict):
    """stat(2); times in seconds since the epoch."""

    mode: int
    ino: int
    dev: int
    nlink: int
    uid: int
    gid: int
    size: int
    atime: int
    ctime: int
    mtime: int


class ContentFields(TypedDict):
    """Part of a file as text, and its position."""

    content: str
    contentType: Literal["lines", "bytes"]
    startPosition: int
    endPosition: int


class ListReply(TypedDict):
    """A listing."""

    output: list[FileReply]


class StatReply(TypedDict):
    """A file's fields."""

    output: StatFields


class ContentReply(TypedDict):
    """A piece of a file."""

    output: ContentFields


class ViewReply(TypedDict):
    """A piece of a file as text."""

    output: str


class ChangedFileReply(TypedDict):
    """The file after the change."""

    output: FileReply


class ChecksumFields(TypedDict):
    """A checksum in hexadecimal."""

    algorithm: Literal["SHA256"]
    checksum: str


class ChecksumReply(TypedDict):
    """A file's checksum."""

    output: ChecksumFields


class FileTypeReply(TypedDict):
    """The description of a file by file(1)."""

    output: str

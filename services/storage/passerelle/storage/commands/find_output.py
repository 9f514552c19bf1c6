"""The output of find(1) of GNU findutils, parsed as FileInfo."""

import errno
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from passerelle.storage.errors import FileError
from passerelle.storage.paths import shown
from passerelle.storage.values import Columns, FileInfo

# name, letter, link target, type-less mode, owner, size, times, inode, device, links; local time last
FORMAT = r"%P\0%y\0%l\0%m\0%U\0%G\0%u\0%g\0%s\0%T@\0%A@\0%C@\0%i\0%D\0%n\0%TY-%Tm-%TdT%TH:%TM:%TS\0"
"""For `-printf`; what it prints are `FIELDS` values that end in NUL."""
FIELDS = 16
TYPES: Mapping[str, int] = {
    "f": stat.S_IFREG,
    "d": stat.S_IFDIR,
    "l": stat.S_IFLNK,
    "p": stat.S_IFIFO,
    "s": stat.S_IFSOCK,
    "c": stat.S_IFCHR,
    "b": stat.S_IFBLK,
}
"""The types of stat(2) by the letters of `%y`."""


def entry(values: Sequence[str]) -> tuple[str, FileInfo]:
    """The path relative to find's starting point, with lone surrogates for bytes that are not UTF-8; and the file."""
    path, letter, target, mode, uid, gid, user, group, size, *times, inode, device, links, local = (
        values
    )
    return path, FileInfo(
        **named(path),
        target=shown(target) if letter == "l" else None,
        size=int(size),
        mode=int(mode, 8) | TYPES.get(letter, 0),
        uid=int(uid),
        gid=int(gid),
        user=user,
        group=group,
        local_time=local[:19],
        mtime_ns=_nanoseconds(times[0]),
        atime_ns=_nanoseconds(times[1]),
        ctime_ns=_nanoseconds(times[2]),
        inode=int(inode),
        device=int(device),
        links=int(links),
    )


def named(path: str) -> dict[str, Any]:
    """The fields of a FileInfo that carry its name."""
    name = shown(path)
    raw = path.encode("utf-8", "surrogateescape")
    return {"name": name, "raw_hex": None if name == path else raw.hex()}


def called(path: str, info: FileInfo) -> FileInfo:
    """The file under the name `path`."""
    return replace(info, **named(path))


def table_of(files: Iterable[FileInfo], columns: Columns) -> bytes:
    """A JSON array of objects with these columns."""
    return b"[%b]" % b",".join(row_of(info, columns) for info in files)


def row_of(info: FileInfo, columns: Columns) -> bytes:
    """A JSON object with these columns."""
    return orjson.dumps({key: getattr(info, field) for key, field in columns})


def look_options(path: str, dereference: bool, *depth: str) -> tuple[str, ...]:
    """The command whose output `files_in` reads: about `path` and its entries, limited by find's options `depth`."""
    # An entry may vanish while its directory is read. The option for that ignores a missing `path`, too.
    options = ("-ignore_readdir_race", *depth, "-printf", FORMAT)
    return ("find", "-L" if dereference else "-P", path, *options)


def files_in(output: str) -> dict[str, FileInfo]:
    """The files in find's output, by path relative to its starting point, whose own path is empty."""
    values = output.split("\0")[:-1]
    return dict(entry(values[at : at + FIELDS]) for at in range(0, len(values), FIELDS))


def require_all(files: Mapping[str, FileInfo], path: str, *, dereference: bool) -> None:
    """Raise FileError when `path` itself is not among the files, or when a link to follow has no target."""
    if "" not in files:
        raise FileError("access", path, errno.ENOENT)
    for name, info in files.items():
        if dereference and info.letter == "l":  # find falls back to the link; ls -L does not
            raise FileError("access", os.path.join(path, name).rstrip("/"), errno.ENOENT)


def _nanoseconds(seconds: str) -> int:
    """find's `1767323045.0000000000` as nanoseconds."""
    whole, _, fraction = seconds.partition(".")
    return int(whole) * 10**9 + int(fraction[:9].ljust(9, "0"))

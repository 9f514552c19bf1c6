"""What find(1) of GNU findutils prints about files, as FileInfo."""

import stat
from collections.abc import Mapping, Sequence
from typing import Any

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
    """The path relative to where find began, in which lone surrogates stand for what is not UTF-8; and the file."""
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


def as_object(info: FileInfo, columns: Columns) -> dict[str, Any]:
    """What is known about a file under the keys that were asked for."""
    return {key: getattr(info, field) for key, field in columns}


def _nanoseconds(seconds: str) -> int:
    """find's `1767323045.0000000000` as nanoseconds."""
    whole, _, fraction = seconds.partition(".")
    return int(whole) * 10**9 + int(fraction[:9].ljust(9, "0"))

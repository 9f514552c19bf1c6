"""The fallback where no helper can run: the same operations by GNU coreutils and findutils, one process each.

Every operation here takes the arguments and gives the result of its namesake in `remote/operations.py`. Names that are
not UTF-8 come back with U+FFFD in them, because output is text here.
"""

import base64
import errno
import json
import os
import re
import shlex
import stat
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from passerelle.runtime.command import Output
from passerelle.runtime.errors import ApiError
from passerelle.runtime.ssh.connection import Connection
from passerelle.storage.content import Session, opened
from passerelle.storage.files import Columns, FileError, FileInfo
from passerelle.storage.placing_commands import PlacingCommands
from passerelle.storage.stderr import failure_of, first_line

# name, letter, link target, type-less mode, owner, size, times, inode, device, links; local time last
_FORMAT = (
    r"%P\0%y\0%l\0%m\0%U\0%G\0%u\0%g\0%s\0%T@\0%A@\0%C@\0%i\0%D\0%n\0%TY-%Tm-%TdT%TH:%TM:%TS\0"
)
_FIELDS = 16
_TYPES: Mapping[str, int] = {
    "f": stat.S_IFREG,
    "d": stat.S_IFDIR,
    "l": stat.S_IFLNK,
    "p": stat.S_IFIFO,
    "s": stat.S_IFSOCK,
    "c": stat.S_IFCHR,
    "b": stat.S_IFBLK,
}
_QUOTED = re.compile(r"'(.*)'", re.DOTALL)


class PlainCommands:
    """The operations by one process each, over one connection; `limit` is the time for one, in seconds."""

    def __init__(self, connection: Connection, limit: float) -> None:
        self._connection = connection
        self._limit = limit
        placing = PlacingCommands(self._run, self._look)
        self._operations: Mapping[str, Callable[..., Awaitable[bytes]]] = {
            "stat": self._stat,
            "list": self._list,
            "read": self._read,
            "excerpt": self._excerpt,
            "mkdir": self._make_directory,
            "remove": self._remove,
            "symlink": self._make_symlink,
            "run": self._run_program,
            "checksum": self._checksum,
            "target": self._target,
            "begin": placing.begin,
            "place": placing.place,
        }

    @property
    def alive(self) -> bool:
        """Whether it still answers: always, as long as its connection does."""
        return True

    async def call(self, operation: str, arguments: dict[str, Any]) -> bytes:
        """See `RemoteHelper.call`."""
        return await self._operations[operation](**arguments)

    async def _stat(self, path: str, dereference: bool, columns: Columns) -> bytes:
        found = await self._find(path, dereference, "-maxdepth", "0")
        return orjson.dumps(_object(replace(found[""], name=path), columns))

    async def _list(
        self,
        path: str,
        columns: Columns,
        hidden: bool,
        recursive: bool,
        dereference: bool,
        limit: int,
    ) -> bytes:
        depth = () if recursive else ("-maxdepth", "1")
        found = await self._find(path, dereference, *depth)
        top = found.pop("")
        rows = list(_in_order(found, hidden)) if top.letter == "d" else [replace(top, name=path)]
        result = orjson.dumps([_object(info, columns) for info in rows])
        if len(result) > limit:
            raise FileError("limit", path, errno.EFBIG)
        return result

    async def _find(self, path: str, dereference: bool, *depth: str) -> dict[str, FileInfo]:
        """What find(1) prints, by path relative to `path`, which itself is the empty one."""
        follow = "-L" if dereference else "-P"
        # An entry that vanishes while its directory is read is no error; then neither is a `path` that is not there.
        options = ("-ignore_readdir_race", *depth, "-printf", _FORMAT)
        output = await self._run("find", follow, path, *options)
        values = output.stdout.split("\0")[:-1]
        found = dict(_info(values[at : at + _FIELDS]) for at in range(0, len(values), _FIELDS))
        if output.status:
            raise _failure(output, "open" if "" in found else "access", path)
        if "" not in found:
            raise FileError("access", path, errno.ENOENT)
        for name, info in found.items():
            if dereference and info.letter == "l":  # find falls back to the link; ls -L does not
                raise FileError("access", os.path.join(path, name).rstrip("/"), errno.ENOENT)
        return found

    async def _read(self, path: str, offset: int, length: int, limit: int | None) -> bytes:
        info = await self._regular(path)
        if limit is not None and info.size > limit:
            raise FileError("limit", path, errno.EFBIG)
        session = Session(await self._connection.sftp(), self._connection.system, self._limit)
        async with opened(session, path) as file:
            length = max(0, min(length, info.size - offset))
            return b"".join([chunk async for chunk in file.chunks(offset, length)])

    async def _regular(self, path: str) -> FileInfo:
        info = (await self._find(path, True, "-maxdepth", "0"))[""]
        if info.letter != "-":
            number = errno.EISDIR if info.letter == "d" else errno.EINVAL
            raise FileError("read", path, number)
        return info

    async def _excerpt(
        self, path: str, unit: str, count: int, from_end: bool, before: bool, limit: int
    ) -> bytes:
        program = "head" if before else "tail"
        mark = f"-{count}" if from_end else str(count) if before else f"+{count + 1}"
        # The second head keeps a huge answer from being carried here only to be refused; base64 keeps its bytes.
        script = '"$1" "$2" -- "$3" | head -c "$4" | base64'
        option = f"--{unit}={mark}"
        output = await self._run("sh", "-c", script, "sh", program, option, path, str(limit + 1))
        if output.stderr:
            step = "read" if "error reading" in output.stderr else "open"
            raise _failure(output, step, path)
        content = base64.b64decode(output.stdout)
        if len(content) > limit:
            raise FileError("limit", path, errno.EFBIG)
        return content

    async def _make_directory(self, path: str, parents: bool, columns: Columns) -> bytes:
        output = await self._run("mkdir", *(("-p",) if parents else ()), "--", path)
        if output.status:
            raise _failure(output, "mkdir", path)
        return await self._stat(path, True, columns)

    async def _remove(self, path: str) -> bytes:
        output = await self._run("rm", "-r", "--interactive=never", "--", path)
        if output.status:
            raise _failure(output, "unlink", path)
        return b""

    async def _make_symlink(self, path: str, target: str) -> bytes:
        output = await self._run("ln", "-s", "-T", "--", target, path)
        if output.status:
            raise failure_of(output, "symlink", path)
        return b""

    async def _run_program(self, path: str, argv: Sequence[str], dereference: bool) -> bytes:
        output = await self._run(*argv, path)
        return orjson.dumps([output.status, output.stdout, output.stderr])

    async def _checksum(self, path: str, algorithm: str) -> bytes:
        size = (await self._regular(path)).size
        output = await self._run(f"{algorithm}sum", "--", path)
        if output.status:
            raise failure_of(output, "open", path)
        value = output.stdout.removeprefix("\\").partition(" ")[0]  # a backslash marks odd names
        return orjson.dumps({"entries": 0, "size": size, "total": size, "result": value})

    async def _look(self, path: str) -> FileInfo:
        return (await self._find(path, False, "-maxdepth", "0"))[""]

    async def _target(self, path: str) -> bytes:
        output = await self._run("readlink", "-v", "-f", "-z", "--", path)
        if output.status:
            raise _failure(output, "open", path)
        real = output.stdout.rstrip("\0")
        found = await self._run("find", "-P", real, "-maxdepth", "0", "-printf", _FORMAT)
        if found.status:
            error = _failure(found, "open", path)
            if isinstance(error, FileError) and error.errno == errno.ENOENT:
                return json.dumps({"real": real, "version": None}).encode()
            raise error
        info = _info(found.stdout.split("\0")[:-1])[1]
        if info.letter != "-":
            number = errno.EISDIR if info.letter == "d" else errno.EINVAL
            raise FileError("open", path, number)
        return json.dumps({"real": real, "version": info.version}).encode()

    async def _run(self, *argv: str) -> Output:
        line = shlex.join(("env", "LC_ALL=C", *argv))
        return await self._connection.run(line, "", self._limit)


def _info(values: list[str]) -> tuple[str, FileInfo]:
    name, letter, target, mode, uid, gid, user, group, size, *times, inode, device, links, local = (
        values
    )
    return name, FileInfo(
        name=name,
        raw_hex=None,
        target=target if letter == "l" else None,
        size=int(size),
        mode=int(mode, 8) | _TYPES.get(letter, 0),
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


def _nanoseconds(seconds: str) -> int:
    """find's `1767323045.0000000000` as nanoseconds."""
    whole, _, fraction = seconds.partition(".")
    return int(whole) * 10**9 + int(fraction[:9].ljust(9, "0"))


def _object(info: FileInfo, columns: Columns) -> dict[str, Any]:
    return {key: getattr(info, field) for key, field in columns}


def _in_order(found: Mapping[str, FileInfo], hidden: bool) -> Iterator[FileInfo]:
    """Entries as `ls -R` orders them: a directory's whole content, then each of its directories'."""
    below: dict[str, list[str]] = {}
    for path in found:
        below.setdefault(os.path.dirname(path), []).append(path)
    pending = [""]
    while pending:
        paths = sorted(below.get(pending.pop(), ()), key=os.fsencode)
        shown = [path for path in paths if hidden or not os.path.basename(path).startswith(".")]
        yield from (found[path] for path in shown)
        pending.extend(path for path in reversed(shown) if path in below)


def _failure(output: Output, step: str, path: str) -> ApiError:
    """The failure that a command tells, about the file that it names in quotes if it does."""
    where = _QUOTED.search(first_line(output))
    return failure_of(output, step, where[1] if where else path)

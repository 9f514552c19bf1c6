"""The file of a transfer in the directory where its job works: readable by the user alone.

It has three lines. The first is the id of the job, padded with blanks; it is written after the job was submitted. The
second is `Leftovers` as JSON, with the name of the system, since systems may share the directory. The third has the
secret parameters of the job's program as JSON. The program removes the file when nothing has to be tidied up. If the
file still exists after the job's end, the leftovers in it have to be removed.
"""

import json
import os
import posixpath
import re
import stat
from collections.abc import Container, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import cast

import asyncssh

from passerelle.runtime.errors import ApiError, FailedPrecondition
from passerelle.storage.access.content import Client, ContentChannel
from passerelle.storage.access.system_access import SystemAccess
from passerelle.storage.errors import FileError
from passerelle.storage.jobs.port import AgentWork, Leftovers, ShellWork, is_hidden_part
from passerelle.storage.remote.outcome import raw

_PREFIX = ".passerelle-transfer-"
_NAME = re.compile(_PREFIX.replace(".", r"\.") + "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_JOB_ID = 255  # bytes of the first line
_HEAD = 65536  # bytes that hold the first two lines: the second has one path


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A transfer whose file still exists: the file's absolute `path`, the job, the system, and the leftovers.

    `job_id` is empty until it was written. For an incomplete or foreign file, `system` and `leftovers` are empty.
    """

    path: str
    job_id: str
    system: str
    leftovers: Leftovers

    @property
    def id(self) -> str:
        """The transfer's id, a UUID."""
        return posixpath.basename(self.path).removeprefix(_PREFIX)


class PrivateFiles:
    """The private files of the transfers on one `system`, as the current caller."""

    def __init__(self, access: SystemAccess, system: str) -> None:
        self._access = access
        self._system = system

    async def put(self, directory: str, transfer: str, work: ShellWork | AgentWork) -> str:
        """Write the file of a transfer, whose id is a UUID; returns its path.

        Raises FailedPrecondition when the directory cannot be used, ConnectionFailed or DeadlineExceeded. An incomplete
        file is then removed, if possible.
        """
        path = posixpath.join(directory, _PREFIX + transfer)
        async with self._access.content() as channel:
            try:
                await channel.do(
                    "write", path, _write, channel.client, path, content(work, self._system)
                )
            except FileError as error:
                await _gone(channel, path)
                raise FailedPrecondition(
                    f"Transfer jobs cannot work in {directory}: {error.words}",
                    directory=directory,
                ) from None
            except BaseException:
                await _gone(channel, path)
                raise
        return path

    async def record(self, path: str, job_id: str) -> None:
        """Write the job's id to a transfer's file. Raises FileError when it is gone, ConnectionFailed,
        DeadlineExceeded."""
        async with self._access.content() as channel:
            await channel.do("write", path, _record, channel.client, path, job_id)

    async def discard(self, path: str) -> None:
        """Remove the file, if it still exists."""
        async with self._access.content() as channel:
            await _gone(channel, path)

    async def unfinished(
        self, directory: str, exclude: Container[str], limit: int
    ) -> list[Unfinished]:
        """At most `limit` transfers whose files are in the directory, without those whose paths are in `exclude`.

        Raises FileError, ConnectionFailed or DeadlineExceeded.
        """
        async with self._access.content() as channel:
            names = await channel.do("list", directory, _names, channel.client, directory)
        paths = [posixpath.join(directory, name) for name in names]
        return await self.read([path for path in paths if path not in exclude][:limit])

    async def read(self, paths: Sequence[str]) -> list[Unfinished]:
        """The present content of these files, without those that are gone; raises as `unfinished`."""
        transfers = []
        async with self._access.content() as channel:
            for path in paths:
                with suppress(FileError):  # removed, or of another user
                    head = await channel.do("read", path, _head, channel.client, path)
                    if head is not None:
                        transfers.append(_unfinished(path, head))
        return [transfer for transfer in transfers if transfer.system in ("", self._system)]


def content(work: ShellWork | AgentWork, system: str) -> bytes:
    """The file of a transfer whose job is not submitted yet."""
    leftovers = json.dumps({"system": system, **asdict(work.leftovers)})
    parameters = json.dumps(dict(work.parameters) if isinstance(work, AgentWork) else {})
    return b"\n".join((_first_line(""), leftovers.encode(), parameters.encode()))


def _first_line(job_id: str) -> bytes:
    return job_id.encode().ljust(_JOB_ID)


def _unfinished(path: str, head: bytes) -> Unfinished:
    """The transfer that a file describes. The content is not trusted: the user may have changed it."""
    job_id, _, rest = head.partition(b"\n")
    line, _, _ = rest.partition(b"\n")
    system, leftovers = _second_line(line)
    return Unfinished(path, job_id.decode(errors="replace").strip(), system, leftovers)


def _second_line(line: bytes) -> tuple[str, Leftovers]:
    try:
        record = json.loads(line)
        system, part, elsewhere = record["system"], record["part"], dict(record["elsewhere"])
    except (ValueError, TypeError, KeyError):
        return "", Leftovers()
    if not all(isinstance(text, str) for text in (system, part, *elsewhere.values())):
        return "", Leftovers()
    return system, Leftovers(part if is_hidden_part(part) else "", elsewhere)


async def _write(client: Client, path: str, content: bytes) -> None:
    async with await client.open(raw(path), "xb", asyncssh.SFTPAttrs(permissions=0o600)) as file:
        await file.write(content, 0)


async def _record(client: Client, path: str, job_id: str) -> None:
    async with await client.open(raw(path), "r+b") as file:
        await file.write(_first_line(job_id)[:_JOB_ID], 0)


async def _gone(channel: ContentChannel, path: str) -> None:
    with suppress(ApiError):
        await channel.do("unlink", path, channel.client.remove, raw(path))


async def _names(client: Client, directory: str) -> list[str]:
    """The names of all entries of the directory that have the form of a transfer's file."""
    names = []
    async for entry in client.scandir(raw(directory)):
        name = os.fsdecode(entry.filename)
        if _NAME.fullmatch(name) and stat.S_ISREG(entry.attrs.permissions or 0):
            names.append(name)
    return names


async def _head(client: Client, path: str) -> bytes | None:
    """The first _HEAD bytes of a transfer's file; None for one that another user may have made.

    Where several users' jobs share a directory, others can make files of such names there. A file that only its owner
    may read, and that we can read, is ours.
    """
    async with await client.open(raw(path), "rb") as file:
        if stat.S_IMODE((await file.stat()).permissions or 0) != 0o600:
            return None
        return cast(bytes, await file.read(_HEAD, 0))

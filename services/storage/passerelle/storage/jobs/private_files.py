"""The file of a transfer in the directory where its job works: readable by the user alone.

It has three lines. The first is the id of the job, filled up with blanks: it is known, and written, only when the job
has been submitted. The second is what the transfer leaves if its job cannot tidy up (`Leftovers` as JSON), and its
system, for several may share the directory. The third are the secret parameters of the job's program (JSON). The
program removes the file when nothing is left to tidy up. So a file whose job is over says that, and what, there is
still to do.
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
_HEAD = 65536  # bytes in which the first two lines end: the second has one path


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A transfer whose file is still there: its absolute `path`, its job, its system, and what it leaves.

    `job_id` is empty until it has been noted; `system` is empty, and `leftovers` are none, in a file that is not, or
    not yet, as ours are.
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

        Raises FailedPrecondition when the directory cannot be used, ConnectionFailed or DeadlineExceeded, and leaves
        nothing behind then where it can.
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
        """Note the job in a transfer's file; FileError when that is gone, ConnectionFailed or DeadlineExceeded."""
        async with self._access.content() as channel:
            await channel.do("write", path, _record, channel.client, path, job_id)

    async def discard(self, path: str) -> None:
        """Remove the file, if it is still there."""
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
        """What these files say now, without those that are gone; raises as `unfinished`."""
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
    """What a file says; the user may have written anything into it."""
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
    """The names that files of transfers have, as far as files have them."""
    names = []
    async for entry in client.scandir(raw(directory)):
        name = os.fsdecode(entry.filename)
        if _NAME.fullmatch(name) and stat.S_ISREG(entry.attrs.permissions or 0):
            names.append(name)
    return names


async def _head(client: Client, path: str) -> bytes | None:
    """The beginning of a transfer's file; None for one that another user may have made.

    Where several users' jobs work in one directory, others can make files of such names there. What only its owner may
    read, and we can, is ours.
    """
    async with await client.open(raw(path), "rb") as file:
        if stat.S_IMODE((await file.stat()).permissions or 0) != 0o600:
            return None
        return cast(bytes, await file.read(_HEAD, 0))

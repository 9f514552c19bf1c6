"""Content streams against servers that misbehave: short answers, shrinking files, full disks, slow senders."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from typing import Any

import asyncssh
import pytest

from passerelle.runtime.errors import DeadlineExceeded
from passerelle.storage.access.content import ContentChannel
from passerelle.storage.errors import FileError, NoSpace
from passerelle.storage.files.arrivals import Arrival
from passerelle.storage.files.content import BLOCK, RemoteFile
from tests.unit.storage.world import pieces


class Stingy:
    """An SFTP file that never answers with more than a part of what it is asked for, out of order."""

    def __init__(self, content: bytes, part: int) -> None:
        self._content = content
        self._part = part

    async def read(self, size: int, offset: int) -> bytes:
        await asyncio.sleep(0.001 if offset % 3 else 0)
        return self._content[offset : offset + min(size, self._part)]


def opened(content: bytes, part: int) -> RemoteFile:
    sftp: Any = None
    return RemoteFile(ContentChannel(sftp, "lab", 5), "/f", Stingy(content, part))


async def test_short_answers_are_not_the_end() -> None:
    content = os.urandom(3 * BLOCK + 7)
    file = opened(content, 100_000)
    got = [chunk async for chunk in file.chunks(0, len(content))]
    assert b"".join(got) == content
    assert [len(chunk) for chunk in got] == [BLOCK, BLOCK, BLOCK, 7]


async def test_a_file_that_shrank_is_an_error_not_a_short_file() -> None:
    file = opened(os.urandom(BLOCK + 5), BLOCK)
    with pytest.raises(FileError):
        [chunk async for chunk in file.chunks(0, 2 * BLOCK)]


class Disk:
    """A way to the one file on a disk that takes `room` bytes; writes behind a failed one succeed, and later."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.limits = asyncssh.SFTPLimits(0, 0, BLOCK, 0)
        self.content = bytearray()
        self.taking: list[asyncio.Task[None]] = []

    async def open(self, *_: Any, **__: Any) -> "Disk":
        return self

    async def write(self, data: bytes, offset: int) -> int:
        if offset <= self.room < offset + len(data):
            raise asyncssh.SFTPFailure("Failure")
        self.taking.append(asyncio.create_task(self._take(data, offset)))
        await asyncio.shield(self.taking[-1])
        return len(data)

    async def _take(self, data: bytes, offset: int) -> None:
        await asyncio.sleep(offset / BLOCK / 50)  # whether or not somebody waits
        self.content.extend(bytes(max(0, offset - len(self.content))))
        self.content[offset : offset + len(data)] = data

    async def truncate(self, size: int) -> None:
        del self.content[size:]

    async def statvfs(self, path: bytes) -> asyncssh.SFTPVFSAttrs:
        return asyncssh.SFTPVFSAttrs(bavail=0)

    async def close(self) -> None:
        pass


def arrival(disk: Any, stall: float = 5) -> Arrival:
    return Arrival(ContentChannel(disk, "lab", stall), "/d/f", b"/d/.f.part")


async def test_a_full_disk_is_told_and_leaves_no_hole() -> None:
    disk = Disk(room=BLOCK + 5)
    arriving = arrival(disk)
    with pytest.raises(FileError) as raised:
        await arriving.new(pieces(bytes(BLOCK), bytes(BLOCK), bytes(BLOCK), b"x"))
    assert (raised.value.errno, raised.value.meaning) == (errno.ENOSPC, NoSpace)
    assert raised.value.detail == "/d/f: No space left on device"
    await asyncio.gather(*disk.taking)
    assert (arriving.end, len(disk.content)) == (BLOCK, BLOCK)


async def test_a_call_that_is_cancelled_again_ends_when_nothing_is_on_its_way() -> None:
    disk = Disk(room=8 * BLOCK)
    arriving = asyncio.create_task(arrival(disk).new(pieces(*[b"x" * BLOCK] * 8)))
    while not disk.taking:
        await asyncio.sleep(0)
    for _ in range(3):
        arriving.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await arriving
    assert all(taking.done() for taking in disk.taking)


async def test_a_sender_that_stalls_loses_its_place_but_not_what_it_sent() -> None:
    async def stalling() -> AsyncIterator[bytes]:
        yield bytes(BLOCK)
        await asyncio.sleep(3600)

    arriving = arrival(Disk(room=2 * BLOCK), stall=0.05)
    with pytest.raises(DeadlineExceeded):
        await arriving.new(stalling())
    assert arriving.end == BLOCK

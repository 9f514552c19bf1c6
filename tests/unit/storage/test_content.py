"""Content streams against servers that misbehave: short answers, shrinking files, full disks, slow senders."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from typing import Any

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from passerelle.runtime.errors import DeadlineExceeded
from passerelle.storage.content import BLOCK, RemoteFile, Replacement, Session, temporary_name
from passerelle.storage.files import FileError, NoSpace
from tests.unit.storage.world import pieces


class Stingy:
    """An SFTP file that never answers with more than a part of what it is asked for, out of order."""

    def __init__(self, content: bytes, part: int) -> None:
        self._content = content
        self._part = part

    async def read(self, size: int, offset: int) -> bytes:
        await asyncio.sleep(0.001 if offset % 3 else 0)
        return self._content[offset : offset + min(size, self._part)]


def opened(content: bytes, part: int, size: int | None = None) -> RemoteFile:
    sftp: Any = None
    file = Stingy(content, part)
    length = len(content) if size is None else size
    return RemoteFile(Session(sftp, "lab", 5), "/f", file, length, "")


async def test_short_answers_are_not_the_end() -> None:
    content = os.urandom(3 * BLOCK + 7)
    file = opened(content, 100_000)
    got = [chunk async for chunk in file.chunks(0, file.size)]
    assert b"".join(got) == content
    assert [len(chunk) for chunk in got] == [BLOCK, BLOCK, BLOCK, 7]


async def test_a_file_that_shrank_is_an_error_not_a_short_file() -> None:
    file = opened(os.urandom(BLOCK + 5), BLOCK, size=2 * BLOCK)
    with pytest.raises(FileError):
        [chunk async for chunk in file.chunks(0, file.size)]


class Disk:
    """An SFTP session, and the one file on it, whose disk takes `room` bytes."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.limits = asyncssh.SFTPLimits(0, 0, BLOCK, 0)
        self.names: set[bytes] = set()

    async def open(self, path: bytes, *_: Any, **__: Any) -> "Disk":
        self.names.add(path)
        return self

    async def write(self, data: bytes, offset: int) -> int:
        if offset + len(data) > self.room:
            raise asyncssh.SFTPFailure("Failure")
        return len(data)

    async def statvfs(self, path: bytes) -> asyncssh.SFTPVFSAttrs:
        return asyncssh.SFTPVFSAttrs(bavail=0)

    async def remove(self, path: bytes) -> None:
        self.names.remove(path)

    async def close(self) -> None:
        pass


def replacement(disk: Any, stall: float = 5) -> Replacement:
    return Replacement(Session(disk, "lab", stall), "/d/f", b"/d/f", None, b"/d/.f.part")


async def test_a_full_disk_is_told_and_leaves_nothing() -> None:
    disk = Disk(room=BLOCK)
    with pytest.raises(FileError) as raised:
        await replacement(disk).write(pieces(bytes(BLOCK), bytes(BLOCK)), None)
    assert (raised.value.errno, raised.value.meaning) == (errno.ENOSPC, NoSpace)
    assert raised.value.detail == "/d/f: No space left on device"
    assert disk.names == set()


async def test_a_sender_that_stalls_loses_its_place() -> None:
    async def stalling() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(3600)

    disk = Disk(room=BLOCK)
    with pytest.raises(DeadlineExceeded):
        await replacement(disk, stall=0.05).write(stalling(), None)
    assert disk.names == set()


@given(st.text(min_size=1).map(lambda text: text.encode(errors="ignore").replace(b"/", b"")))
def test_temporary_names_fit(name: bytes) -> None:
    directory, temporary = os.path.split(temporary_name(b"/d/" + name[:255]))
    assert directory == b"/d"
    assert len(temporary) <= 255
    assert temporary.startswith(b".")
    assert temporary_name(b"/d/" + name) != temporary_name(b"/d/" + name)


def test_a_name_of_255_bytes_is_cut_between_characters() -> None:
    name = ("日" * 85).encode()
    assert len(name) == 255
    temporary = os.path.basename(temporary_name(b"/" + name))
    temporary.decode()
    assert len(temporary) <= 255

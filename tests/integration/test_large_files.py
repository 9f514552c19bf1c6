"""Large files go in, over the remote helper and over plain commands, each with content over SFTP and without."""

import asyncio
import fcntl
import hashlib
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from passerelle.runtime.errors import ConnectionFailed
from passerelle.storage.values import WriteConditions
from tests.unit.storage.world import World, debris, pieces, remote

pytestmark = pytest.mark.usefixtures("alice")

LARGE = 20 << 20  # bytes: many windows


@pytest.fixture(params=["helper", "commands", "helper alone", "commands alone"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    helper, sftp = request.param.startswith("helper"), not request.param.endswith("alone")
    async with remote(tmp_path, helper=helper, sftp=sftp) as world:
        yield world


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def large() -> bytes:
    return os.urandom(LARGE)


def cut(content: bytes, size: int = 200_000) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


async def test_large_files_go_in_side_by_side(world: World, tmp_path: Path) -> None:
    contents = [large() for _ in range(2)]
    paths = [tmp_path / f"{number} 'large' \n" for number in range(2)]
    written = await asyncio.gather(
        *(
            world.files.write(str(path), pieces(*cut(content)))
            for path, content in zip(paths, contents, strict=True)
        )
    )
    for path, content, reported in zip(paths, contents, written, strict=True):
        assert path.read_bytes() == content
        assert (reported.size, reported.sha256) == (LARGE, digest(content))
    assert debris(tmp_path) == []


async def test_a_large_upload_that_breaks_off_goes_on_where_it_was(
    world: World, path: Path
) -> None:
    content, uploads = large(), world.parts.uploads

    async def breaking() -> AsyncIterator[bytes]:
        for piece in cut(content[:-1_000_000]):
            yield piece
        raise ConnectionResetError

    upload_id = await uploads.create(str(path))
    with pytest.raises(ConnectionResetError):
        await uploads.write(str(path), upload_id, 0, breaking())
    received = await uploads.received(str(path), upload_id)
    assert 8 << 20 <= received <= LARGE - 1_000_000
    await uploads.write(str(path), upload_id, received, pieces(*cut(content[received:])))
    await uploads.complete(str(path), upload_id, LARGE, WriteConditions(sha256=digest(content)))
    assert path.read_bytes() == content


@pytest.mark.parametrize("helper", [True, False])
async def test_a_receiver_takes_the_rest_where_there_is_python(
    tmp_path: Path, path: Path, helper: bool
) -> None:
    """Also when start-up files print; a receiver locks the part."""
    content = large()

    async def waiting() -> AsyncIterator[bytes]:
        for number, piece in enumerate(cut(content)):
            if number > 60:  # 12 MB
                locked.append(is_locked(part))
                await asyncio.sleep(0 if any(locked) else 0.1)
            yield piece

    async with remote(tmp_path, helper=helper) as world:
        world.server.before = "echo noise; echo more noise >&2; "
        locked: list[bool] = []
        uploads = world.parts.uploads
        upload_id = await uploads.create(str(path))
        part = Path(await uploads.part(str(path), upload_id))
        assert await uploads.write(str(path), upload_id, 0, waiting()) == LARGE
        assert (any(locked), is_locked(part)) == (helper, False)
        assert part.read_bytes() == content


def is_locked(path: Path) -> bool:
    """Whether another process has it locked."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@pytest.mark.parametrize("seed", range(4))
async def test_a_line_that_breaks_anywhere_leaves_a_beginning_to_go_on_from(
    world: World, path: Path, seed: int
) -> None:
    content, uploads = large(), world.parts.uploads
    place = random.Random(seed).randrange(LARGE)  # noqa: S311

    async def breaking() -> AsyncIterator[bytes]:
        for number, piece in enumerate(cut(content)):
            if number == place // 200_000:
                world.server.drop_all()
            yield piece

    upload_id = await uploads.create(str(path))
    part = Path(await uploads.part(str(path), upload_id))
    with pytest.raises(ConnectionFailed):
        await uploads.write(str(path), upload_id, 0, breaking())
    received = await uploads.received(str(path), upload_id)
    assert part.read_bytes()[:received] == content[:received]
    await uploads.write(str(path), upload_id, received, pieces(*cut(content[received:])))
    await uploads.complete(str(path), upload_id, LARGE, WriteConditions(sha256=digest(content)))
    assert path.read_bytes() == content


async def test_a_writer_that_is_cancelled_while_a_receiver_writes_leaves_a_beginning(
    world: World, path: Path
) -> None:
    content, uploads, halted = large(), world.parts.uploads, asyncio.Event()

    async def halting() -> AsyncIterator[bytes]:
        for piece in cut(content[:15_000_000]):
            yield piece
        halted.set()
        await asyncio.sleep(3600)

    upload_id = await uploads.create(str(path))
    writing = asyncio.create_task(uploads.write(str(path), upload_id, 0, halting()))
    await halted.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    arrived = Path(await uploads.part(str(path), upload_id)).read_bytes()
    assert arrived == content[: len(arrived)]
    received = await uploads.write(
        str(path), upload_id, len(arrived), pieces(*cut(content[len(arrived) :]))
    )
    assert received == LARGE
    await uploads.complete(str(path), upload_id, LARGE, WriteConditions(sha256=digest(content)))


async def test_a_large_write_that_breaks_off_leaves_nothing(world: World, path: Path) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        for piece in cut(large()):
            yield piece
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await world.files.write(str(path), breaking())
    assert not path.exists()
    assert debris(path.parent) == []

"""Large files go in, over the remote helper and over plain commands, each with content over SFTP and without."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from passerelle.storage.values import WriteConditions
from tests.unit.storage.world import World, as_alice, debris, pieces, remote

LARGE = 20 << 20  # bytes: many windows


@pytest.fixture(autouse=True)
def alice() -> Iterator[None]:
    with as_alice():
        yield


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


async def test_a_large_write_that_breaks_off_leaves_nothing(world: World, path: Path) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        for piece in cut(large()):
            yield piece
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await world.files.write(str(path), breaking())
    assert not path.exists()
    assert debris(path.parent) == []

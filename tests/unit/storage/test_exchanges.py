"""How many requests an operation takes: each one costs a way to the system and back."""

import os
from pathlib import Path
from typing import Any

import pytest

from passerelle.runtime.errors import InvalidArgument
from passerelle.storage.access.helper import RemoteHelper
from passerelle.storage.values import WriteConditions, WriteMode
from tests.unit.storage.world import World, pieces

pytestmark = pytest.mark.usefixtures("alice")

MIB = 1 << 20


@pytest.fixture
async def requests(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The operations that the running helper is asked for from now on."""
    await world.files.stat(str(world.root))
    operations: list[str] = []
    send = RemoteHelper._send

    def counted(helper: RemoteHelper, number: int, operation: str, *rest: Any, **more: Any) -> None:
        operations.append(operation)
        send(helper, number, operation, *rest, **more)

    monkeypatch.setattr(RemoteHelper, "_send", counted)
    return operations


async def has_sftp(world: World) -> bool:
    return (await world.pool.connection("lab"))._sftp is not None


async def test_a_stat_takes_one(world: World, requests: list[str]) -> None:
    await world.files.stat(str(world.root))
    await world.files.row(str(world.root), (("size", "size"),))
    assert requests == ["stat", "row"]


@pytest.mark.parametrize("mode", [WriteMode.OVERWRITE, WriteMode.APPEND])
@pytest.mark.parametrize("size", [0, 1, MIB, 2 * MIB])
async def test_a_small_upload_takes_one(
    world: World, requests: list[str], size: int, mode: WriteMode, tmp_path: Path
) -> None:
    content = bytes(size)
    chunks = (content[start : start + 100_000] for start in range(0, size, 100_000))
    path, conditions = str(tmp_path / "file"), WriteConditions(mode)
    await world.files.write(path, pieces(*chunks), conditions, cut_off_raises=True)
    assert requests == ["write_file"]
    assert not await has_sftp(world)
    assert (tmp_path / "file").read_bytes() == content


async def test_a_larger_upload_goes_over_sftp(
    world: World, requests: list[str], tmp_path: Path
) -> None:
    chunks = pieces(bytes(2 * MIB), b"x")
    await world.files.write(str(tmp_path / "file"), chunks, cut_off_raises=True)
    assert requests == ["write_target", "place_part"]
    assert await has_sftp(world)
    assert (tmp_path / "file").read_bytes() == bytes(2 * MIB) + b"x"


async def test_what_may_be_cut_off_without_a_word_is_not_written_at_once(
    world: World, requests: list[str], tmp_path: Path
) -> None:
    await world.files.write(str(tmp_path / "file"), pieces(b"x"))
    assert requests == ["write_target", "place_part"]


async def test_a_small_upload_that_is_refused_leaves_nothing(
    world: World, requests: list[str], tmp_path: Path
) -> None:
    another = WriteConditions(sha256="0" * 64)
    with pytest.raises(InvalidArgument, match="SHA-256 is"):
        await world.files.write(str(tmp_path / "file"), pieces(b"x"), another)
    assert requests == ["write_file"]
    assert os.listdir(tmp_path) == []

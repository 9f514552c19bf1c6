"""Large trees and sparse files, over the remote helper and over plain commands; on a real SSH server."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import pytest

from passerelle.storage.values import FileInfo, Walk, finished
from tests.unit.storage.world import World, remote

pytestmark = pytest.mark.usefixtures("alice")


@pytest.fixture
async def helped(tmp_path: Path) -> AsyncIterator[World]:
    async with remote(tmp_path) as helped:
        yield helped


@pytest.mark.parametrize("helper", [True, False], ids=["helper", "commands"])
async def test_a_thousand_files_at_once(tmp_path: Path, helper: bool) -> None:
    directory = tmp_path / ("long" * 50) / ("name" * 50)
    directory.mkdir(parents=True)
    for number in range(0, 1000, 2):
        (directory / f"{number}").touch()
    async with remote(tmp_path, helper=helper) as world:
        answers = await world.parts.trees.stat([f"{directory}/{number}" for number in range(1000)])
    assert [isinstance(answer, FileInfo) for answer in answers] == [True, False] * 500


async def test_holes_stay_holes(helped: World, tmp_path: Path) -> None:
    with open(tmp_path / "sparse", "wb") as file:  # noqa: ASYNC230
        file.seek(50_000_000)
        file.write(b"middle")
        file.truncate(100_000_000)
    await finished(helped.parts.trees.copy(f"{tmp_path}/sparse", f"{tmp_path}/copy"))
    assert (tmp_path / "copy").stat().st_blocks == (tmp_path / "sparse").stat().st_blocks
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "sparse").read_bytes()


@pytest.mark.parametrize("size", [2000, 1])
async def test_a_copy_that_is_given_up_leaves_nothing(
    helped: World, tmp_path: Path, size: int
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(size):
        (source / f"{number}").mkdir(mode=0o555)
    block = os.urandom(1 << 20)
    with open(source / "big", "wb") as file:  # noqa: ASYNC230
        for _ in range(200):
            file.write(block)
    copy = asyncio.create_task(finished(helped.parts.trees.copy(str(source), f"{tmp_path}/copy")))
    while len(os.listdir(tmp_path)) == 1:
        await asyncio.sleep(0.001)
    copy.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copy
    while len(os.listdir(tmp_path)) > 1:
        await asyncio.sleep(0.01)
    assert os.listdir(tmp_path) == ["source"]


async def test_progress_grows_until_the_end(helped: World, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(60_000):
        (source / f"{number}").touch()
    async with aclosing(helped.parts.trees.copy(str(source), f"{tmp_path}/copy")) as copy:
        steps = [step async for step in copy]
    assert len(steps) > 1
    assert all(one.entries <= other.entries for one, other in pairwise(steps))
    assert [step.finished for step in steps] == [False] * (len(steps) - 1) + [True]
    assert steps[-1].entries == 60_001


async def test_a_reader_that_waits_holds_up_nothing_else(helped: World, tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 200)
    directory.mkdir()
    for number in range(20_000):
        (directory / f"{number:0>200}").touch()
    async with aclosing(helped.parts.trees.walk(str(tmp_path), Walk())) as walk:
        result = len(await anext(walk))
        for _ in range(50):
            await helped.files.stat(str(tmp_path))
        async for batch in walk:
            result += len(batch)
    assert result == 20_001

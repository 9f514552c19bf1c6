"""Any name goes through every operation and comes back as the same bytes: over the helper, and over plain commands."""

import os
import shutil
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from passerelle.runtime.errors import ApiError
from passerelle.storage.values import FileInfo, Listing, Walk
from tests.examples import examples
from tests.unit.storage.world import World, pieces

pytestmark = pytest.mark.usefixtures("alice")

PATH_MAX = 4096  # linux/limits.h, with the NUL at its end


WICKED = st.sampled_from(b" \n\t\\\"'`$;|&<>*?[]{}~!#-.\x80\xff\xc3\xa9%=:,\x01\x7f")
BYTES = st.integers(1, 255).filter(lambda byte: byte != ord("/"))
NAMES = (
    st.lists(WICKED | BYTES, min_size=1, max_size=255)
    .map(bytes)
    .filter(lambda name: name not in (b".", b".."))
)
LONG = b"\xff" * 255


def text(name: bytes) -> str:
    """As paths go through the service."""
    return name.decode("utf-8", "surrogateescape")


def bytes_of(info: FileInfo) -> bytes:
    """The name, as whoever gets it understands it."""
    return info.raw_name or info.name.encode()


async def ended(steps: Any) -> Any:
    async with aclosing(steps):
        return [step async for step in steps][-1]


@given(name=NAMES, content=st.binary(max_size=10))
@example(name=LONG, content=b"")
@example(name=b"--", content=b"")
@example(name=b"...", content=b"")
@example(name=b"\n", content=b"")
@example(name=b"-rf it's $(touch x) `id`\nline: No such file or directory", content=b"")
@example(name=b"caf\xe9", content=b"latin 1")
@example(name=b"\\303\\251", content=b"octal already")
@settings(
    max_examples=examples(20),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_any_name(world: World, name: bytes, content: bytes) -> None:
    directory = f"{world.root}/{text(name)}"
    path = f"{directory}/{text(name)}"
    try:
        await world.files.make_directory(directory)
        await world.files.write(path, pieces(content))
        [listed] = await world.files.list(directory, Listing(hidden=True))
        assert bytes_of(listed) == name
        [walked] = [info for infos in await _walk(world, directory) for info in infos]
        assert bytes_of(walked) == name
        info = await world.files.stat(path)
        assert bytes_of(info) == os.fsencode(path)
        [one, none] = await world.parts.trees.stat([path, f"{path}\n"])
        assert one == info
        assert isinstance(none, ApiError)
        assert none.http == (400 if len(name) == 255 else 404)
        assert await world.files.read(path, 0, 100) == content
        async with world.files.opened(path) as file:
            assert b"".join([chunk async for chunk in file.chunks(0, len(content))]) == content
        await ended(world.parts.trees.copy(path, f"{directory}/copy", dereference=True))
        await ended(world.parts.trees.move(f"{directory}/copy", path, overwrite=True))
        assert os.listdir(os.fsencode(directory)) == [name]
        assert (await ended(world.parts.trees.measure(directory))).result.entries == 2
        await world.files.remove(path)
        await ended(world.parts.trees.remove(directory))
        assert os.listdir(world.root) == []
    finally:
        _emptied(world.root)


async def _walk(world: World, path: str) -> list[Any]:
    async with aclosing(world.parts.trees.walk(path, Walk(hidden=True))) as batches:
        return [batch async for batch in batches]


def _emptied(root: Path) -> None:
    for left in root.iterdir():
        shutil.rmtree(left)


@given(name=NAMES)
@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_pages_go_on_behind_any_name(world: World, name: bytes) -> None:
    directory = os.fsencode(world.root)
    try:
        for each in {name, b"a", b"\xff", b"z z"}:
            Path(os.fsdecode(directory + b"/" + each)).touch()
        every = sorted(os.listdir(directory))
        after = text(every[0])
        listing = Listing(hidden=True, after=after)
        rest = await world.files.list(str(world.root), listing)
        assert [bytes_of(info) for info in rest] == every[1:]
    finally:
        for each in os.listdir(directory):
            os.unlink(directory + b"/" + each)


async def test_the_longest_path(world: World) -> None:
    path = str(world.root)
    while len(path) < PATH_MAX - 257:
        path += "/" + "d" * min(255, PATH_MAX - 257 - len(path))
        os.mkdir(path)
    path += "/" + "f" * (PATH_MAX - 2 - len(path))
    assert len(path) == PATH_MAX - 1
    Path(path).write_text("here")
    assert (await world.files.stat(path)).size == 4
    assert await world.files.read(path, 0, 10) == b"here"
    [info] = await world.parts.trees.stat([path])
    assert isinstance(info, FileInfo)
    target = f"{world.root}/{'t' * 255}"
    await ended(world.parts.trees.copy(path, target))
    assert Path(target).read_text() == "here"
    await ended(world.parts.trees.move(target, path, overwrite=True))
    await world.files.remove(path)
    with pytest.raises(ApiError) as raised:
        await world.files.stat(path + "f")
    assert raised.value.http == 400

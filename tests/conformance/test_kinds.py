"""What is no file: nothing waits for it, nothing replaces it, and every refusal says what it is."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from passerelle.storage.errors import FileError
from passerelle.storage.files.archives import TAR, Selection
from passerelle.storage.files.checksums import Algorithm
from passerelle.storage.files.tarballs import Tarball
from passerelle.storage.values import Excerpt
from tests.unit.storage.world import World, debris, pieces

pytestmark = pytest.mark.usefixtures("alice")

PATIENCE = 15  # seconds; well below the time of a command, which would end what hangs


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "into").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    os.mknod(tmp_path / "device", 0o20666, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        yield tmp_path


async def _all(steps: Any) -> None:
    async with aclosing(steps):
        async for _ in steps:
            pass


async def _opened(world: World, path: str) -> None:
    async with world.files.opened(path):
        pass


HEAD = Excerpt("lines", 1, from_end=False, before=True)
TAIL = Excerpt("lines", 1, from_end=True, before=False)
Act = Callable[[World, str], Awaitable[Any]]
READING: Mapping[str, Act] = {
    "view": lambda world, path: world.files.read(path, 0, 9),
    "head": lambda world, path: world.files.excerpt(path, HEAD, 9),
    "tail": lambda world, path: world.files.excerpt(path, TAIL, 9),
    "content": _opened,
    "sha256": lambda world, path: world.parts.checksums.sha256(path),
    "xxh3": lambda world, path: _all(world.parts.checksums.compute(path, Algorithm.XXH3)),
    "archive": lambda world, path: _all(world.parts.archives.packed(path, TAR, Selection())),
    "compress": lambda world, path: world.parts.tarballs.compress(
        Tarball(path), f"{world.root}/new.tgz"
    ),
    "extract": lambda world, path: world.parts.tarballs.extract(path, f"{world.root}/into", "gzip"),
}
WRITING: Mapping[str, Act] = {
    "write": lambda world, path: world.files.write(path, pieces(b"new"), cut_off_raises=True),
    "compress to": lambda world, path: world.parts.tarballs.compress(
        Tarball(f"{world.root}/file"), path
    ),
    "copy": lambda world, path: _all(
        world.parts.trees.copy(f"{world.root}/file", path, overwrite=True)
    ),
    "move": lambda world, path: _all(
        world.parts.trees.move(f"{world.root}/file", path, overwrite=True)
    ),
}
KINDS = {"fifo": "Is a named pipe", "socket": "Is a socket", "device": "Is a device"}


async def refusal(act: Act, world: World, path: Path) -> FileError:
    with pytest.raises(FileError) as raised:
        async with asyncio.timeout(PATIENCE):
            await act(world, str(path))
    return raised.value


@pytest.mark.parametrize("act", READING.values(), ids=READING)
async def test_what_is_no_file_is_not_read(world: World, odd: Path, act: Act) -> None:
    for kind, words in {**KINDS, "link": "Is a named pipe"}.items():
        error = await refusal(act, world, odd / kind)
        assert (error.http, error.words) == (400, words)
    assert not (odd / "new.tgz").exists()
    assert not list((odd / "into").iterdir())


@pytest.mark.parametrize("act", WRITING.values(), ids=WRITING)
async def test_what_is_no_file_is_not_replaced(world: World, odd: Path, act: Act) -> None:
    for kind, words in KINDS.items():
        before = (odd / kind).lstat()
        error = await refusal(act, world, odd / kind)
        assert (error.http, error.words) == (400, words)
        assert os.path.samestat((odd / kind).lstat(), before)
    assert (odd / "file").read_text() == "mine"
    assert not debris(odd)

"""A directory that is swapped for a link out of the filesystems meanwhile: nothing from outside is told or changed."""

import asyncio
import hashlib
import os
import tarfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from io import BytesIO
from pathlib import Path

import pytest

from passerelle.runtime.errors import ApiError
from passerelle.storage.files.archives import TAR, Selection
from passerelle.storage.files.tarballs import Tarball
from passerelle.storage.values import Excerpt, Listing, Walk
from tests.unit.storage.world import World, remote

pytestmark = pytest.mark.usefixtures("alice")

INSIDE, OUTSIDE = b"inside", b"beyond"  # as long, and of the same owner
TRIES = 150


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for directory, content in (("root/dir", INSIDE), ("outside", OUTSIDE)):
        (tmp_path / directory / "sub").mkdir(parents=True)
        (tmp_path / directory / "file").write_bytes(content)
        (tmp_path / directory / content.decode()).write_bytes(content)
        os.utime(tmp_path / directory / "file", (1, 1))
    with tarfile.open(tmp_path / "root/dir/x.tar", "w") as tar:
        tar.add(tmp_path / "root/dir/file", "inside")
    with tarfile.open(tmp_path / "outside/x.tar", "w") as tar:
        tar.add(tmp_path / "outside/file", "beyond")
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "root" / "into").mkdir()
    return tmp_path / "root"


@pytest.fixture
async def world(root: Path) -> AsyncIterator[World]:
    async with remote(root) as world:
        yield world


@contextmanager
def flipping(root: Path) -> Iterator[None]:
    """`root/dir` is in turn the directory and a link out, inside the block."""
    ended = threading.Event()
    real, link, path = root.parent / "real", root.parent / "link", root / "dir"

    def flip() -> None:
        while not ended.is_set():
            path.rename(real)
            link.rename(path)
            path.rename(link)
            real.rename(path)

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


async def content(world: World, path: str) -> bytes:
    async with world.files.opened(path) as file, aclosing(file.chunks(0, file.size)) as chunks:  # type: ignore[type-var]
        return b"".join([chunk async for chunk in chunks])


async def checksum(world: World, path: str) -> bytes:
    contents = {hashlib.sha256(text).hexdigest(): text for text in (INSIDE, OUTSIDE)}
    return contents[await world.parts.checksums.sha256(path)]


async def copied(world: World, path: str) -> bytes:
    target = world.root / "copy"
    async with aclosing(
        world.parts.trees.copy(os.path.dirname(path), str(target), overwrite=True)
    ) as steps:
        async for _ in steps:
            pass
    return b" ".join([(target / "file").read_bytes(), *map(os.fsencode, os.listdir(target))])


async def packed(world: World, path: str) -> bytes:
    return await _packed(world, path, Selection())


async def selected(world: World, path: str) -> bytes:
    return await _packed(world, os.path.dirname(path), Selection(pattern="*"))


async def _packed(world: World, path: str, selection: Selection) -> bytes:
    archive = world.parts.archives.packed(path, TAR, selection)
    async with aclosing(archive) as pieces:
        with tarfile.open(fileobj=BytesIO(b"".join([piece async for piece in pieces]))) as tar:
            return _held(tar)


def _held(tar: tarfile.TarFile) -> bytes:
    files = [tar.extractfile(member) for member in tar if member.isfile()]
    return b" ".join(file.read()[:10] for file in files if file)


async def compressed(world: World, path: str) -> bytes:
    target = world.root / "made.tar"
    await world.parts.tarballs.compress(Tarball(path, "none"), str(target))
    with tarfile.open(target) as tar:
        return _held(tar)


async def extracted(world: World, path: str) -> bytes:
    archive, into = os.path.join(os.path.dirname(path), "x.tar"), world.root / "into"
    await world.parts.tarballs.extract(archive, str(into), "none")
    return b" ".join(file.read_bytes() for file in into.iterdir())


async def listed(world: World, path: str) -> bytes:
    entries = await world.files.list(os.path.dirname(path), Listing())
    return b" ".join(info.name.encode() for info in entries)


async def walked(world: World, path: str) -> bytes:
    steps = world.parts.trees.walk(os.path.dirname(path), Walk())
    return b" ".join([info.name.encode() async for infos in steps for info in infos])


HEAD = Excerpt("lines", 1, from_end=False, before=True)
TAIL = Excerpt("bytes", 9, from_end=True, before=False)
Read = Callable[[World, str], Awaitable[bytes]]
READS: Mapping[str, tuple[Read, int]] = {
    "view": (lambda world, path: world.files.read(path, 0, 100), TRIES),
    "head": (lambda world, path: world.files.excerpt(path, HEAD, 100), TRIES),
    "tail": (lambda world, path: world.files.excerpt(path, TAIL, 100), TRIES),
    "content": (content, TRIES),
    "checksum": (checksum, TRIES),
    "copy": (copied, TRIES),
    "list": (listed, TRIES),
    "walk": (walked, TRIES),
    "archive": (packed, TRIES // 3),
    "archive of a pattern": (selected, TRIES // 3),
    "compress": (compressed, TRIES // 3),
    "extract": (extracted, TRIES // 3),
}


@pytest.mark.parametrize(("read", "tries"), READS.values(), ids=READS)
async def test_nothing_from_outside_is_told(
    world: World, root: Path, read: Read, tries: int
) -> None:
    await require_inside(world, root, read, tries)


@pytest.mark.parametrize("name", ["view", "head", "tail", "checksum"])
async def test_nor_is_it_where_no_helper_runs(root: Path, name: str) -> None:
    async with remote(root, helper=False) as world:
        await require_inside(world, root, READS[name][0], TRIES // 5)


async def require_inside(world: World, root: Path, read: Read, tries: int) -> None:
    """Fail when something that is read while the directory is swapped comes from outside."""
    path = str(root / "dir" / "file")
    assert INSIDE in await read(world, path)
    reported = []
    with flipping(root):
        for _ in range(tries):
            try:
                reported.append(await read(world, path))
            except ApiError as error:
                assert error.http in (400, 404, 409), error  # noqa: PT017
            await asyncio.sleep(0)
    assert not [text for text in reported if OUTSIDE in text]


async def moved(world: World, path: str) -> None:
    for source, target in ((path, f"{world.root}/moved"), (f"{world.root}/moved", path)):
        async with aclosing(world.parts.trees.move(source, target, overwrite=True)) as steps:
            async for _ in steps:
                pass


async def copied_to(world: World, path: str) -> None:
    source = str(world.root / "mine")
    async with aclosing(world.parts.trees.copy(source, f"{path}.new", overwrite=True)) as steps:
        async for _ in steps:
            pass


Change = Callable[[World, str], Awaitable[object]]
CHANGES: Mapping[str, Change] = {
    "remove": lambda world, path: world.files.remove(path),
    "mkdir": lambda world, path: world.files.make_directory(f"{path}.{os.urandom(4).hex()}"),
    "symlink": lambda world, path: world.parts.attributes.make_symlink(
        f"{path}.{os.urandom(4).hex()}", "file"
    ),
    "chmod": lambda world, path: world.parts.attributes.change_mode(path, "600"),
    "move": moved,
    "copy": copied_to,
}


def looks(directory: Path) -> list[tuple[str, int, int]]:
    """What is in it: names, inodes, modes."""
    stats = {path: path.lstat() for path in directory.rglob("*")}
    return sorted((str(path), st.st_ino, st.st_mode) for path, st in stats.items())


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_nothing_outside_is_changed(world: World, root: Path, change: Change) -> None:
    path, outside = str(root / "dir" / "file"), root.parent / "outside"
    (root / "mine").write_bytes(INSIDE)
    before = looks(outside)
    with flipping(root):
        for _ in range(TRIES // 2):
            try:
                await change(world, path)
            except ApiError as error:
                assert error.http in (400, 404, 409), error  # noqa: PT017
            await asyncio.sleep(0)
    assert looks(outside) == before

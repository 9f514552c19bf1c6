"""Archives on a system with Python, and on one where there are only plain commands."""

import io
import tarfile
from pathlib import Path

import pytest

from passerelle.runtime.errors import InvalidArgument, Unsupported
from passerelle.storage.files.archives import TAR, Selection
from passerelle.storage.files.tarballs import Tarball
from tests.unit.storage.world import World, pieces, remote

pytestmark = pytest.mark.usefixtures("alice")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "-n\nl").write_text("x")
    (tmp_path / "alias").symlink_to("tree")
    return tmp_path / "tree"


async def packed(world: World, path: Path, selection: Selection) -> list[str]:
    result = [piece async for piece in world.parts.archives.packed(str(path), TAR, selection)]
    with tarfile.open(fileobj=io.BytesIO(b"".join(result))) as tar:
        return tar.getnames()


@pytest.mark.parametrize("selection", [Selection(), Selection(True), Selection(pattern="-*")])
async def test_a_directory_is_packed(world: World, tree: Path, selection: Selection) -> None:
    for path in (tree, tree.parent / "alias"):
        assert (await packed(world, path, selection))[-1] == "tree/-n\nl"


async def test_followed_links_stay_inside(world: World, tree: Path) -> None:
    (tree / "out").symlink_to("/etc")
    assert "tree/out" in await packed(world, tree, Selection())
    with pytest.raises(InvalidArgument, match="out"):
        await packed(world, tree, Selection(True))


async def test_archives_are_made_and_unpacked(world: World, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    tarballs = world.parts.tarballs
    await tarballs.compress(Tarball(str(tree)), str(tmp_path / "x.tgz"))
    await tarballs.extract(str(tmp_path / "x.tgz"), str(tmp_path / "into"), "gzip")
    assert (tmp_path / "into" / "tree" / "-n\nl").read_text() == "x"
    (tmp_path / "out").symlink_to("/var/tmp")
    with pytest.raises(InvalidArgument, match="out"):
        await tarballs.extract(str(tmp_path / "x.tgz"), str(tmp_path / "out"), "gzip")


async def test_unpacking_a_stream_takes_python(tree: Path, tmp_path: Path) -> None:
    async with remote(tmp_path, helper=False) as world:
        with pytest.raises(Unsupported, match="Python"):
            await world.parts.archives.unpack(
                str(tmp_path / "new"), TAR, pieces(b"x"), overwrite=False
            )

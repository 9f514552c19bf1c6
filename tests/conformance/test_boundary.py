"""Where paths may point: into the filesystem, also after their links are followed; over the helper, over commands."""

import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from passerelle.runtime.errors import ApiError
from passerelle.storage.errors import FileError, Outside
from passerelle.storage.values import Excerpt, Listing, Walk
from tests.unit.storage.world import World, pieces, remote

pytestmark = pytest.mark.usefixtures("alice")

HELPER = pytest.mark.parametrize("helper", [True, False], ids=["helper", "commands"])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A filesystem with links of every sort in it, and a secret beside it."""
    root = tmp_path / "root"
    (root / "dir" / "deep").mkdir(parents=True)
    (root / "file").write_text("mine")
    (root / "dir" / "inner").write_text("inner")
    (root / "in").symlink_to("dir")
    (root / "up").symlink_to("dir/deep/../../file")
    (root / "whole").symlink_to(root)
    (root / "dangling").symlink_to("not yet")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (root / "out").symlink_to(outside)
    (root / "absolute").symlink_to(outside / "secret")
    (root / "relative").symlink_to("../outside/secret")
    (root / "chain").symlink_to("relative")
    (root / "lost").symlink_to(outside / "nothing here")
    (tmp_path / "root and more").mkdir()
    (root / "namesake").symlink_to(tmp_path / "root and more")
    return root


@pytest.fixture(params=[True, False], ids=["helper", "commands"])
async def world(request: pytest.FixtureRequest, root: Path) -> AsyncIterator[World]:
    async with remote(root, helper=request.param) as world:
        yield world


async def end_of(steps: Any) -> Any:
    """The last step of a long operation."""
    async with aclosing(steps):
        return [step async for step in steps][-1]


async def followed(world: World, path: str, call: str) -> object:
    """A call that follows a link at the end of its path."""
    files, trees = world.parts.files, world.parts.trees
    match call:
        case "stat":
            return await files.stat(path, dereference=True)
        case "list":
            return await files.list(path, Listing(dereference=True))
        case "read":
            return await files.read(path, 0, 10)
        case "head":
            return await files.excerpt(path, Excerpt("lines", 1, False, True), 100)
        case "write":
            return await files.write(path, pieces(b"overwritten"), cut_off_raises=True)
        case "mkdir":
            return await files.make_directory(path, parents=True)
        case "chmod":
            await world.parts.attributes.change_mode(path, "777")
            return None
        case "walk":
            return await end_of(trees.walk(path, Walk(dereference=True)))
        case "measure":
            return await end_of(trees.measure(path))
        case "quota":
            return await trees.quota(path)
        case "copy":
            return await end_of(trees.copy(path, f"{world.root}/copy", dereference=True))
        case _:
            async with files.opened(path) as file:
                return file.size


FOLLOWING = ["stat", "list", "read", "head", "write", "mkdir", "chmod", "walk", "measure"]


@pytest.mark.parametrize("call", [*FOLLOWING, "quota", "copy", "open"])
async def test_what_leads_out_is_refused(world: World, root: Path, call: str) -> None:
    for name in (
        "out",
        "absolute",
        "relative",
        "chain",
        "lost",
        "namesake",
        "out/secret",
        "out/x/y",
    ):
        with pytest.raises(Outside) as raised:
            await followed(world, f"{root}/{name}", call)
        assert raised.value.fields[0].name == "path"
        assert raised.value.http == 400
        assert "outside" not in raised.value.detail.replace(name, "")
    assert (root.parent / "outside" / "secret").read_text() == "secret"
    assert os.listdir(root.parent / "outside") == ["secret"]
    assert os.listdir(root.parent / "root and more") == []


@pytest.mark.parametrize("name", ["in", "in/inner", "up", "whole/file", "whole/in/inner", "whole"])
async def test_what_leads_in_is_not(world: World, root: Path, name: str) -> None:
    info = await world.files.stat(f"{root}/{name}", dereference=True)
    assert info.inode == (root / name).stat().st_ino


async def test_a_link_to_what_is_not_there_yet_may_be_written_through(
    world: World, root: Path
) -> None:
    await world.files.write(f"{root}/dangling", pieces(b"new"))
    assert (root / "not yet").read_bytes() == b"new"
    assert (root / "dangling").is_symlink()


@pytest.mark.parametrize("name", ["out", "absolute", "lost"])
async def test_a_link_itself_may_be_seen_moved_and_removed(
    world: World, root: Path, name: str
) -> None:
    path, moved = f"{root}/{name}", f"{root}/dir/moved"
    assert (await world.files.stat(path)).target == os.readlink(path)
    await end_of(world.parts.trees.copy(path, f"{root}/copied"))
    assert os.readlink(f"{root}/copied") == os.readlink(path)
    await end_of(world.parts.trees.move(path, moved))
    assert not os.path.lexists(path)
    await world.files.remove(moved)
    assert not os.path.lexists(moved)
    assert (root.parent / "outside" / "secret").read_text() == "secret"


async def test_what_lies_behind_a_link_out_is_refused_even_if_it_is_a_link_itself(
    world: World, root: Path
) -> None:
    (root.parent / "outside" / "back").symlink_to(root / "file")
    trees, behind = world.parts.trees, f"{root}/out/back"
    for call in (
        lambda: world.files.stat(behind),
        lambda: world.files.remove(behind),
        lambda: end_of(trees.remove(behind)),
        lambda: end_of(trees.move(behind, f"{root}/x")),
        lambda: end_of(trees.copy(behind, f"{root}/x")),
    ):
        with pytest.raises(Outside):
            await call()
    assert (root.parent / "outside" / "back").is_symlink()
    # What it points to is inside, so that it may be followed.
    assert (await world.files.stat(behind, dereference=True)).size == 4


@pytest.mark.parametrize("operation", ["copy", "move"])
async def test_targets_are_looked_at_as_well(world: World, root: Path, operation: str) -> None:
    act = getattr(world.parts.trees, operation)
    for name in ("out/x", "namesake/x", "whole/out/x"):
        with pytest.raises(Outside) as raised:
            await end_of(act(f"{root}/file", f"{root}/{name}"))
        assert raised.value.fields[0].name == "target"
    assert os.listdir(root.parent / "outside") == ["secret"]
    await end_of(act(f"{root}/file", f"{root}/whole/in/x"))
    assert (root / "dir" / "x").read_text() == "mine"


async def test_a_link_may_only_be_made_to_what_is_inside(world: World, root: Path) -> None:
    make = world.parts.attributes.make_symlink
    for words in (str(root.parent / "outside"), "../outside/secret", "out/secret"):
        with pytest.raises(Outside) as raised:
            await make(f"{root}/new", words)
        assert raised.value.fields[0].name == "target"
    await make(f"{root}/in/new", "../file")
    assert (root / "dir" / "new").read_text() == "mine"


async def test_links_met_on_the_way_are_looked_at(world: World, root: Path) -> None:
    with pytest.raises(Outside):
        await world.files.list(str(root), Listing(dereference=True))
    (root / "dir" / "deep" / "sneaky").symlink_to(root.parent / "outside")
    with pytest.raises(Outside):
        await world.files.list(str(root / "dir"), Listing(recursive=True, dereference=True))
    with pytest.raises(Outside):
        await end_of(world.parts.trees.copy(f"{root}/dir", f"{root}/b", dereference=True))
    assert not [name for name in os.listdir(root) if name == "b" or name.startswith(".b")]


async def test_a_walk_tells_links_out_as_links_and_does_not_follow_them(root: Path) -> None:
    async with remote(root) as world:
        walk = world.parts.trees.walk(str(root), Walk(dereference=True))
        result = {info.name: info for batch in [part async for part in walk] for info in batch}
    assert result["in/inner"].letter == "-"
    assert {name: result[name].letter for name in ("out", "lost", "chain", "in")} == {
        "out": "l",
        "lost": "l",
        "chain": "l",
        "in": "d",
    }
    assert not any("secret" in name for name in result)


async def test_each_of_many_has_its_own_answer(world: World, root: Path) -> None:
    names = ["file", "absolute", "nope", "out/secret", "in/inner"]
    answers = await world.parts.trees.stat([f"{root}/{name}" for name in names], dereference=True)
    kinds = [type(answer).__name__ for answer in answers]
    assert kinds == ["FileInfo", "Outside", "FileError", "Outside", "FileInfo"]


@HELPER
async def test_roots_may_be_links_themselves(tmp_path: Path, root: Path, helper: bool) -> None:
    (tmp_path / "alias").symlink_to(root)
    async with remote(tmp_path / "alias", helper=helper) as world:
        assert (await world.files.stat(f"{tmp_path}/alias")).letter == "l"
        assert (await world.files.stat(f"{tmp_path}/alias/in/inner", dereference=True)).size == 5
        listing = Listing(dereference=True)
        entries = await world.files.list(f"{tmp_path}/alias/in", listing)
        assert [info.name for info in entries] == ["deep", "inner"]
        with pytest.raises(Outside):
            await world.files.read(f"{tmp_path}/alias/out/secret", 0, 10)


@HELPER
async def test_a_root_that_comes_to_lead_elsewhere_is_looked_up_again(
    tmp_path: Path, root: Path, helper: bool
) -> None:
    alias = tmp_path / "alias"
    alias.symlink_to(tmp_path / "outside")
    async with remote(alias, helper=helper) as world:
        assert (await world.files.stat(f"{alias}/secret")).size == 6
        alias.unlink()
        alias.symlink_to(root)
        assert (await world.files.stat(f"{alias}/file")).size == 4


@HELPER
async def test_the_boundary_can_be_switched_off(root: Path, helper: bool) -> None:
    async with remote(root, helper=helper, check_links=False) as world:
        assert await world.files.read(f"{root}/out/secret", 0, 10) == b"secret"
        [secret] = await world.files.list(f"{root}/out", Listing(dereference=True))
        assert secret.name == "secret"


@HELPER
async def test_errors_of_the_way_there_stay_what_they_are(root: Path, helper: bool) -> None:
    (root / "loop").symlink_to("loop")
    async with remote(root, helper=helper) as world:
        for path in (f"{root}/loop", f"{root}/nope/x", f"{root}/file/x"):
            with pytest.raises(ApiError) as raised:
                await world.files.stat(path, dereference=True)
            assert isinstance(raised.value, FileError)

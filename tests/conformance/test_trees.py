"""What every way to trees must do: over the remote helper, and over plain commands; on a real SSH server."""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from passerelle.runtime.errors import InvalidArgument
from passerelle.storage.errors import FileError
from passerelle.storage.files.trees import Trees
from passerelle.storage.values import FileInfo, Listing, Walk
from tests import real
from tests.unit.storage.world import World, Worlds, debris, remote

pytestmark = pytest.mark.usefixtures("alice")

OLD = (1_000_000_000_123_456_789, 1_100_000_000_987_654_321)


@pytest_asyncio.fixture(loop_scope="session")
async def helped(worlds: Worlds, tmp_path: Path) -> World:
    return await worlds.at(tmp_path)


@pytest.fixture
def trees(world: World) -> Trees:
    return world.parts.trees


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with something of every kind in it, all of it old."""
    tree = tmp_path / "tree"
    (tree / "sub" / "deep").mkdir(parents=True)
    (tree / "empty").mkdir()
    (tree / "a.out").write_bytes(b"a" * 3_000_000)
    (tree / ".hidden").write_text("h")
    (tree / "sub" / "b.out").write_text("bb")
    (tree / "sub" / "deep" / "c.txt").write_text("")
    (tree / "link").symlink_to("sub/b.out")
    (tree / "dangling").symlink_to("nowhere")
    (tree / "a.out").chmod(0o750)
    (tree / "sub").chmod(0o2755)
    os.mkfifo(tree / "fifo")
    for path in [*tree.rglob("*"), tree]:
        os.utime(path, ns=OLD, follow_symlinks=False)
    return tree


def picture(root: Path) -> list[tuple[Any, ...]]:
    """All that a copy must keep."""
    collected = []
    for path in sorted([root, *root.rglob("*")]):
        st = path.lstat()
        is_file = stat.S_ISREG(st.st_mode)
        words = path.read_bytes() if is_file else os.readlink(path) if path.is_symlink() else None
        collected.append((path.relative_to(root), oct(st.st_mode), st.st_mtime_ns, words))
    return collected


async def steps_of(steps: Any) -> list[Any]:
    async with aclosing(steps):
        return [step async for step in steps]


async def result_of(steps: Any) -> Any:
    """What came of a long operation."""
    last = (await steps_of(steps))[-1]
    assert last.finished
    return last.result


async def refused(steps: Any) -> FileError:
    with pytest.raises(FileError) as raised:
        await steps_of(steps)
    return raised.value


async def walked(trees: Trees, path: Path, walk: Walk) -> dict[str, FileInfo]:
    batches: list[Sequence[FileInfo]] = await steps_of(trees.walk(str(path), walk))
    return {info.name: info for batch in batches for info in batch}


async def test_a_walk_finds_what_find_finds(trees: Trees, tree: Path) -> None:
    entries = await walked(trees, tree, Walk(hidden=True))
    assert set(entries) == {str(path.relative_to(tree)) for path in tree.rglob("*")}
    for name, info in entries.items():
        st = (tree / name).lstat()
        assert (info.mode, info.size, info.mtime_ns) == (st.st_mode, st.st_size, st.st_mtime_ns)
    assert entries["link"].target == "sub/b.out"


@pytest.mark.parametrize(
    ("walk", "names"),
    [
        (Walk(pattern="*.out"), ["a.out", "sub/b.out"]),
        (Walk(max_depth=1, types=(stat.S_IFDIR,)), ["empty", "sub"]),
        (Walk(max_depth=2, types=(stat.S_IFREG,)), ["a.out", "sub/b.out"]),
        (Walk(types=(stat.S_IFLNK, stat.S_IFIFO)), ["dangling", "fifo", "link"]),
        (Walk(hidden=True, pattern=".*"), [".hidden"]),
        (Walk(pattern="nothing"), []),
        (Walk(pattern="[bc].*"), ["sub/b.out", "sub/deep/c.txt"]),
    ],
)
async def test_a_walk_is_narrowed(trees: Trees, tree: Path, walk: Walk, names: list[str]) -> None:
    assert sorted(await walked(trees, tree, walk)) == names


async def test_walks_that_begin_at_no_directory(trees: Trees, tree: Path) -> None:
    [info] = (await walked(trees, tree / "a.out", Walk())).values()
    assert (info.name, info.size) == (str(tree / "a.out"), 3_000_000)
    error = await refused(trees.walk(str(tree / "nope"), Walk()))
    assert error.http == 404


async def test_a_walk_that_follows_links_ends(helped: World, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "up").symlink_to("..")
    (tmp_path / "d" / "here").symlink_to(".")
    entries = await walked(helped.parts.trees, tmp_path, Walk(dereference=True))
    assert set(entries) == {"d", "d/up", "d/here"}


async def test_many_files_at_once(trees: Trees, tree: Path) -> None:
    names = ["a.out", "nope", "link", "a.out/x", "sub", "n" * 300]
    answers = await trees.stat([f"{tree}/{name}" for name in names])
    reported = [
        answer.name.rpartition("/")[2] if isinstance(answer, FileInfo) else answer.http
        for answer in answers
    ]
    assert reported == ["a.out", 404, "link", 400, "sub", 400]
    [followed] = await trees.stat([f"{tree}/link"], dereference=True)
    assert isinstance(followed, FileInfo)
    assert (followed.letter, followed.size) == ("-", 2)
    assert await trees.stat([]) == []


async def test_pages_together_are_the_whole(world: World, tree: Path) -> None:
    for recursive in (False, True):
        every = await world.files.list(str(tree), Listing(recursive=recursive, hidden=True))
        pages: list[FileInfo] = []
        after = ""
        while True:
            listing = Listing(recursive=recursive, hidden=True, after=after, count=2)
            page = await world.files.list(str(tree), listing)
            if not page:
                break
            pages += page
            after = page[-1].name
        assert [info.name for info in pages] == [info.name for info in every]


async def test_a_page_goes_on_where_its_last_entry_was_removed(world: World, tree: Path) -> None:
    listing = Listing(recursive=True, after="sub/b.out")
    before = await world.files.list(str(tree), listing)
    (tree / "sub" / "b.out").unlink()
    after = await world.files.list(str(tree), listing)
    assert (
        [info.name for info in after]
        == [info.name for info in before]
        == [
            "sub/deep",
            "sub/deep/c.txt",
        ]
    )


async def test_a_listing_is_narrowed(world: World, tree: Path) -> None:
    listing = Listing(recursive=True, pattern="*.out", count=1)
    assert [info.name for info in await world.files.list(str(tree), listing)] == ["a.out"]


async def test_a_copy_of_a_tree_is_the_same(trees: Trees, tree: Path, tmp_path: Path) -> None:
    result = await result_of(trees.copy(str(tree), f"{tmp_path}/copy"))
    assert picture(tmp_path / "copy") == picture(tree)
    assert (result.name, result.inode) == (
        f"{tmp_path}/copy",
        (tmp_path / "copy").stat().st_ino,
    )
    assert debris(tmp_path) == []


@pytest.mark.parametrize("name", ["a.out", "link", "dangling", "fifo"])
async def test_copies_of_single_entries(trees: Trees, tree: Path, name: str) -> None:
    result = await result_of(trees.copy(f"{tree}/{name}", f"{tree}/copy"))
    assert picture(tree / "copy") == picture(tree / name)
    assert result.mode == (tree / name).lstat().st_mode


async def test_a_copy_may_be_of_what_links_point_to(trees: Trees, tree: Path) -> None:
    (tree / "dangling").unlink()
    await result_of(trees.copy(str(tree), f"{tree}.copy", dereference=True))
    copied = Path(f"{tree}.copy/link")
    assert (copied.is_symlink(), copied.read_text()) == (False, "bb")


async def test_nothing_is_replaced_unasked(trees: Trees, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("old")
    (tmp_path / "full").mkdir()
    (tmp_path / "nothing").symlink_to("nowhere at all")
    for act in (trees.copy, trees.move):
        for target in ("there", "full", "nothing"):
            for source in ("a.out", "sub"):
                error = await refused(act(f"{tree}/{source}", f"{tmp_path}/{target}"))
                assert (error.http, error.path) == (409, f"{tmp_path}/{target}")
    assert (tmp_path / "there").read_text() == "old"
    assert os.listdir(tmp_path / "full") == []
    assert debris(tmp_path) == []


async def test_overwriting_a_file(trees: Trees, tree: Path, tmp_path: Path) -> None:
    for act in (trees.copy, trees.move):
        (tmp_path / "there").write_text("old")
        await result_of(act(f"{tree}/a.out", f"{tmp_path}/there", overwrite=True))
        assert (tmp_path / "there").stat().st_size == 3_000_000
    assert not (tree / "a.out").exists()


async def test_overwriting_a_tree_replaces_its_files(
    trees: Trees, tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "there" / "sub").mkdir(parents=True)
    (tmp_path / "there" / "sub" / "b.out").write_text("old")
    (tmp_path / "there" / "sub" / "other").write_text("stays")
    await result_of(trees.copy(str(tree), f"{tmp_path}/there", overwrite=True))
    assert (tmp_path / "there" / "sub" / "b.out").read_text() == "bb"
    assert (tmp_path / "there" / "sub" / "other").read_text() == "stays"
    assert (tmp_path / "there" / "a.out").stat().st_size == 3_000_000
    assert debris(tmp_path) == []


async def test_a_directory_is_not_copied_into_itself(trees: Trees, tree: Path) -> None:
    (tree.parent / "alias").symlink_to(tree)
    before = picture(tree)
    for act in (trees.copy, trees.move):
        for target in (f"{tree}/sub/x", f"{tree}/x", f"{tree.parent}/alias/x"):
            with pytest.raises(InvalidArgument) as raised:
                await steps_of(act(str(tree), target))
            assert raised.value.fields[0].name == "target"
    assert picture(tree) == before


async def test_moving(trees: Trees, tree: Path, tmp_path: Path) -> None:
    before = picture(tree)
    result = await result_of(trees.move(str(tree), f"{tmp_path}/moved"))
    assert picture(tmp_path / "moved") == before
    assert result.name == f"{tmp_path}/moved"
    assert not tree.exists()


@pytest.mark.parametrize("act", ["copy", "move"])
async def test_what_is_not_there(trees: Trees, tree: Path, act: str) -> None:
    call = getattr(trees, act)
    assert (await refused(call(f"{tree}/nope", f"{tree}/x"))).http == 404
    assert (await refused(call(f"{tree}/a.out", f"{tree}/no/x"))).http == 404
    assert (await refused(call(f"{tree}/a.out", f"{tree}/fifo/x"))).http == 400
    assert (tree / "a.out").stat().st_size == 3_000_000


async def test_moving_to_the_other_name_of_the_same_file(helped: World, tree: Path) -> None:
    os.link(tree / "a.out", tree / "same")
    move = helped.parts.trees.move
    await result_of(move(f"{tree}/a.out", f"{tree}/same", overwrite=True))
    assert not (tree / "a.out").exists()
    await result_of(move(f"{tree}/same", f"{tree}/same", overwrite=True))
    assert (tree / "same").stat().st_size == 3_000_000


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A directory on another filesystem, with a link to it in `tmp_path`."""
    if not os.access("/dev/shm", os.W_OK) or os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        real.missing("second filesystem", "/dev/shm is none that can be written to")
    directory = Path("/dev/shm") / f"passerelle-{os.getpid()}"
    directory.mkdir()
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@pytest.mark.parametrize("helper", [True, False], ids=["helper", "commands"])
async def test_moving_to_another_filesystem(
    tree: Path, tmp_path: Path, elsewhere: Path, helper: bool
) -> None:
    before = picture(tree)
    async with remote(tmp_path, helper=helper, check_links=False) as world:
        (tmp_path / "elsewhere").symlink_to(elsewhere)
        await result_of(world.parts.trees.move(str(tree), f"{tmp_path}/elsewhere/moved"))
    assert picture(elsewhere / "moved") == before
    assert not tree.exists()
    assert os.listdir(elsewhere) == ["moved"]


async def test_removing(trees: Trees, tree: Path) -> None:
    (tree.parent / "kept").write_text("")
    (tree / "to kept").symlink_to("../kept")
    assert await result_of(trees.remove(str(tree))) is None
    assert os.listdir(tree.parent) == ["kept"]
    assert (await refused(trees.remove(str(tree)))).http == 404


async def test_usage_is_what_du_says(trees: Trees, tree: Path) -> None:
    os.link(tree / "a.out", tree / "again")
    result = await result_of(trees.measure(str(tree)))
    du = [
        int(_du(tree, *options)) for options in (["--inodes"], ["-B1", "--apparent-size"], ["-B1"])
    ]
    assert [result.entries, result.size, result.allocated] == du


def _du(path: Path, *options: str) -> str:
    argv = ("du", "-s", *options, str(path))
    return subprocess.run(argv, capture_output=True, check=True, text=True).stdout.split()[0]


async def test_the_room_is_what_the_system_says(trees: Trees, tmp_path: Path) -> None:
    quota = await trees.quota(str(tmp_path))
    filesystem = quota.filesystem
    status = os.statvfs(tmp_path)
    assert filesystem.limit == status.f_blocks * status.f_frsize
    assert filesystem.files_limit == status.f_files
    assert 0 < filesystem.used < filesystem.limit
    assert quota.user is None  # nobody has set a quota on a temporary directory


def _nested(directory: Path, names: Sequence[str]) -> None:
    fd = os.open(directory, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=fd)
        above, fd = fd, os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(above)
    os.close(fd)


async def test_a_tree_deeper_than_any_path_is_long(helped: World, tmp_path: Path) -> None:
    _nested(tmp_path, ["top"] + ["d" * 200] * 30)  # 6000 bytes
    await result_of(helped.parts.trees.copy(f"{tmp_path}/top", f"{tmp_path}/copy"))
    measured = await result_of(helped.parts.trees.measure(f"{tmp_path}/copy"))
    assert measured.entries == 31
    await result_of(helped.parts.trees.remove(f"{tmp_path}/top"))
    await result_of(helped.parts.trees.remove(f"{tmp_path}/copy"))
    assert os.listdir(tmp_path) == []

"""Archives as streams, by GNU tar over a real SSH server."""

import asyncio
import errno
import io
import os
import shutil
import stat
import sys
import tarfile
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from passerelle.runtime.errors import (
    ApiError,
    ConnectionFailed,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    Unsupported,
)
from passerelle.storage.errors import FileError
from passerelle.storage.files.archives import TAR, TAR_GZ, TAR_ZST, Format, Selection
from passerelle.storage.remote.changing.packing import leads_out
from tests.unit.storage.world import World, pieces, remote

pytestmark = pytest.mark.usefixtures("alice")

FORMATS = pytest.mark.parametrize("packing", [TAR, TAR_GZ, TAR_ZST], ids=lambda p: p.suffix)
NAMES = (
    "plain",
    "-rf",
    "--help",
    "two words",
    "new\nline",
    "quo'te\"",
    "tab\t%s\\0",
    "ünï",
    "*?[a]",
)
BIG = 3 << 20
Member = tuple[str, bytes, bytes | str]
EVERYTHING, FOLLOWED = Selection(), Selection(dereference=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with names of every kind, a link, and a file that no compression makes small."""
    top = tmp_path / "-the %tree"
    for directory in (top, top / "-sub"):
        directory.mkdir()
        for name in NAMES:
            (directory / name).write_text(f"{directory.name} {name}")
    (top / "big.bin").write_bytes(os.urandom(BIG))
    (top / "link").symlink_to("plain")
    (top / "empty").mkdir()
    return top


async def packed(
    world: World, path: Path, packing: Format = TAR, selection: Selection = EVERYTHING
) -> bytes:
    result = [piece async for piece in world.parts.archives.packed(str(path), packing, selection)]
    return b"".join(result)


async def unpacked(
    world: World, path: Path, content: bytes, packing: Format = TAR, *, overwrite: bool = False
) -> int:
    cut = [content[at : at + 50_000] for at in range(0, len(content), 50_000)]
    return await world.parts.archives.unpack(str(path), packing, pieces(*cut), overwrite=overwrite)


def contents(top: Path) -> dict[str, bytes | str | None]:
    """Everything below a directory: files' bytes, links' texts, None for directories."""
    return {
        str(path.relative_to(top)): (
            os.readlink(path) if path.is_symlink() else None if path.is_dir() else path.read_bytes()
        )
        for path in top.rglob("*")
    }


def archive(*members: Member, mode: int = 0o644) -> bytes:
    """A tar archive of (name, type, content or link text)."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, mode
            if isinstance(content, str):
                info.linkname = content
            elif kind == tarfile.REGTYPE:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content if isinstance(content, bytes) else b""))
    return sink.getvalue()


def file(name: str, content: bytes = b"new") -> Member:
    return name, tarfile.REGTYPE, content


def link(name: str, text: str) -> Member:
    return name, tarfile.SYMTYPE, text


@FORMATS
async def test_what_is_packed_can_be_unpacked(
    world: World, tree: Path, tmp_path: Path, packing: Format
) -> None:
    content = await packed(world, tree, packing)
    assert await unpacked(world, tmp_path / "copy", content, packing) == len(contents(tree)) + 1
    assert contents(tmp_path / "copy" / tree.name) == contents(tree)
    assert [path.name for path in (tmp_path / "copy").iterdir()] == [tree.name]


async def test_a_single_file(world: World, tree: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(await packed(world, tree / "--help"))) as tar:
        assert tar.getnames() == ["--help"]


async def test_a_link_to_a_directory_is_followed_where_it_is_asked_for(
    world: World, tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "alias").symlink_to(tree)
    with tarfile.open(fileobj=io.BytesIO(await packed(world, tmp_path / "alias"))) as tar:
        assert tree.name in tar.getnames()


async def test_links_are_packed_as_links_unless_asked_otherwise(world: World, tree: Path) -> None:
    content = [await packed(world, tree, TAR, Selection(dereference=it)) for it in (False, True)]
    collected = []
    for one in content:
        with tarfile.open(fileobj=io.BytesIO(one)) as tar:
            collected.append(tar.getmember(f"{tree.name}/link").issym())
    assert collected == [True, False]


@pytest.mark.parametrize(("pattern", "name"), [("-r*", "-rf"), ("new?line", "new\nline")])
async def test_only_files_that_match_a_pattern(
    world: World, tree: Path, pattern: str, name: str
) -> None:
    content = await packed(world, tree, TAR, Selection(pattern=pattern))
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        assert sorted(tar.getnames()) == sorted([f"{tree.name}/-sub/{name}", f"{tree.name}/{name}"])


async def test_what_is_not_there(world: World, tmp_path: Path) -> None:
    with pytest.raises(FileError) as raised:
        await packed(world, tmp_path / "nothing")
    assert raised.value.errno == errno.ENOENT


async def begun(world: World, path: Path, packing: Format) -> int:
    """How many bytes come before the error that there must be: of a link to nowhere, followed."""
    arrived: list[int] = []

    async def read() -> None:
        async for piece in world.parts.archives.packed(str(path), packing, FOLLOWED):
            arrived.append(len(piece))  # what came before the error counts

    with pytest.raises(FailedPrecondition, match="broken: File removed before we read it"):
        await read()
    return sum(arrived)


@FORMATS
async def test_a_small_archive_that_tar_cannot_finish_never_begins(
    world: World, tmp_path: Path, packing: Format
) -> None:
    (tmp_path / "broken").symlink_to("nowhere")
    assert await begun(world, tmp_path, packing) == 0


@FORMATS
async def test_a_large_one_ends_in_an_error(world: World, tree: Path, packing: Format) -> None:
    (tree / "broken").symlink_to("nowhere")
    assert await begun(world, tree, packing) > BIG / 2


async def test_links_that_are_followed_stay_inside_the_filesystems(
    world: World, tree: Path, tmp_path: Path
) -> None:
    (tree / "-sub" / "out").symlink_to("/etc")
    assert await packed(world, tree)
    with pytest.raises(InvalidArgument, match="out"):
        await packed(world, tree, TAR, FOLLOWED)


@pytest.fixture
def without_zstd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system whose PATH has what is needed, but no zstd."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("env", "sh", "bash", "tar", "gzip", "mkdir", "chmod", "rm", "dd"):
        (programs / name).symlink_to(str(shutil.which(name)))
    (programs / "python3").symlink_to(os.path.realpath(sys.executable))
    monkeypatch.setenv("PATH", str(programs))


@pytest.mark.usefixtures("without_zstd")
async def test_a_system_without_zstd_says_what_to_use(world: World, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    with pytest.raises(Unsupported, match=r"no program zstd: .*tar\.gz, tar"):
        await packed(world, tmp_path / "x", TAR_ZST)
    with pytest.raises(Unsupported, match="no program zstd"):
        await unpacked(world, tmp_path / "y", b"(\xb5/\xfd" + bytes(100), TAR_ZST)
    assert not (tmp_path / "y").exists()


async def running(text: str) -> bool:
    """Whether a process has `text` in its command line, for as long as ten seconds."""
    for _ in range(100):
        lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _there(path)]
        if not any(text.encode() in line and b"tar" in line for line in lines):
            return False
        await asyncio.sleep(0.1)
    return True


def _there(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


async def test_a_reader_that_leaves_ends_tar(world: World, tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(1 << 40)
    archives = world.parts.archives
    async with aclosing(archives.packed(str(tmp_path / "huge"), TAR, Selection())) as stream:
        assert await anext(stream)
    assert not await running(str(tmp_path))


@FORMATS
async def test_a_cut_off_archive_leaves_nothing(
    world: World, tree: Path, tmp_path: Path, packing: Format
) -> None:
    content = await packed(world, tree, packing)
    end = len(content.rstrip(b"\0"))
    for size in (0, 1, 600, 1024, len(content) // 2, end - 5):
        with pytest.raises(InvalidArgument):
            await unpacked(world, tmp_path / "copy", content[:size], packing)
    assert sorted(path.name for path in tmp_path.iterdir()) == [tree.name]


async def test_tar_tells_what_is_no_archive(world: World, tmp_path: Path) -> None:
    for packing, words in (
        (TAR, "does not look like a tar archive"),
        (TAR_GZ, "not in gzip format"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            await unpacked(world, tmp_path / "copy", b"no archive" * 1000, packing)
    with pytest.raises(InvalidArgument, match="body is empty"):
        await unpacked(world, tmp_path / "copy", b"", TAR_GZ)


@pytest.mark.parametrize(
    "members",
    [
        [file("../outside")],
        [file("a/../../outside")],
        [link("out", "/etc"), file("out/passwd")],
        [link("out", "/etc/passwd")],
        [link("out", "..")],
        [file("d/x"), link("d/out", "../../outside")],
        [link("here", "."), link("out", "here/../..")],
        [file("a/b/x"), link("short", "a/b"), link("a/b/out", "../../../x")],
        [link("one", "two"), link("two", "three"), link("three", "../outside")],
        [("device", tarfile.CHRTYPE, b"")],
        [("hard", tarfile.LNKTYPE, "/etc/passwd")],
    ],
)
async def test_what_leads_out_is_refused(
    world: World, tmp_path: Path, members: Sequence[Member]
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    for target in (tmp_path / "new", old):
        with pytest.raises(ApiError) as raised:
            await unpacked(world, target, archive(file("good"), *members))
        assert raised.value.http in (400, 403)
    assert list(tmp_path.iterdir()) == [old]
    assert list(old.iterdir()) == []


async def test_links_that_stay_inside_are_kept(world: World, tmp_path: Path) -> None:
    top = tmp_path / "new"
    inside: list[Member] = [
        file("a/b/x"),
        link("a/b/up", "../../a/b/x"),
        link("whole", str(top / "a")),
        link("through", "whole/b/x"),
        link("dangling", "a/nothing"),
        link("loop", "loop"),
    ]
    assert await unpacked(world, top, archive(*inside)) == 8
    assert (top / "a/b/up").read_bytes() == (top / "through").read_bytes() == b"new"


async def test_absolute_names_are_taken_as_relative_ones(world: World, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    await unpacked(world, tmp_path / "new", archive(file(str(outside))))
    assert not outside.exists()
    assert (tmp_path / "new" / str(outside).lstrip("/")).exists()


async def test_nothing_runs_as_somebody_else(world: World, tmp_path: Path) -> None:
    await unpacked(world, tmp_path / "new", archive(file("suid"), mode=0o6777))
    mode = (tmp_path / "new" / "suid").stat().st_mode
    assert stat.S_IMODE(mode) & 0o7022 == 0


def _old(tmp_path: Path) -> Path:
    old = tmp_path / "old"
    (old / "dir").mkdir(parents=True)
    (old / "dir" / "kept").write_text("old")
    (old / "dir" / "same").write_text("old")
    return old


async def test_entries_are_merged_into_a_directory(world: World, tmp_path: Path) -> None:
    old = _old(tmp_path)
    assert await unpacked(world, old, archive(file("dir/more"), file("new/x"))) == 4
    assert contents(old) == {
        "dir": None,
        "dir/kept": b"old",
        "dir/more": b"new",
        "dir/same": b"old",
        "new": None,
        "new/x": b"new",
    }


async def test_existing_files_are_replaced_only_when_asked(world: World, tmp_path: Path) -> None:
    old = _old(tmp_path)
    before = contents(old)
    content = archive(file("a"), file("dir/same"), file("z"))
    with pytest.raises(FileError) as raised:
        await unpacked(world, old, content)
    assert (raised.value.errno, raised.value.path) == (errno.EEXIST, str(old / "dir/same"))
    assert raised.value.http == 409
    assert contents(old) == before
    await unpacked(world, old, content, overwrite=True)
    assert contents(old) == before | {"a": b"new", "dir/same": b"new", "z": b"new"}


async def test_a_file_never_replaces_a_directory(world: World, tmp_path: Path) -> None:
    old = _old(tmp_path)
    before = contents(old)
    with pytest.raises(FileError, match="File exists"):
        await unpacked(world, old, archive(file("a"), file("dir")), overwrite=True)
    assert contents(old) == before


async def test_links_in_the_way_are_replaced_not_followed(world: World, tmp_path: Path) -> None:
    old, other = _old(tmp_path), tmp_path / "other"
    other.mkdir()
    (old / "sub").symlink_to(other)
    with pytest.raises(FileError, match="File exists"):
        await unpacked(world, old, archive(file("sub/x")))
    await unpacked(world, old, archive(file("sub/x")), overwrite=True)
    assert list(other.iterdir()) == []
    assert not (old / "sub").is_symlink()


async def test_a_target_that_cannot_be(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, number in (("file", errno.ENOTDIR), ("no/where", errno.ENOENT)):
        with pytest.raises(FileError) as raised:
            await unpacked(world, tmp_path / path, archive(file("x")))
        assert raised.value.errno == number


class Cut(Exception):
    pass


async def _half(content: bytes, then: BaseException | None) -> AsyncIterator[bytes]:
    for at in range(0, len(content) // 2, 65536):
        yield content[at : at + 65536]
    if then is None:
        await asyncio.sleep(60)
    else:
        raise then


@FORMATS
async def test_an_upload_that_breaks_off_leaves_nothing(
    world: World, tree: Path, tmp_path: Path, packing: Format
) -> None:
    content = await packed(world, tree, packing)
    old = _old(tmp_path)
    before = contents(old)
    for target in (tmp_path / "new", old):
        with pytest.raises(Cut):
            await world.parts.archives.unpack(
                str(target), packing, _half(content, Cut()), overwrite=True
            )
    assert not (tmp_path / "new").exists()
    assert contents(old) == before
    assert not await running(str(tmp_path))


async def _soon_clean(top: Path) -> None:
    for _ in range(100):
        if not list(top.rglob(".*passerelle-part")):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(list(top.rglob(".*passerelle-part")))


async def test_a_cancelled_upload_leaves_nothing(world: World, tree: Path, tmp_path: Path) -> None:
    content = await packed(world, tree)
    call = asyncio.create_task(
        world.parts.archives.unpack(
            str(tmp_path / "new"), TAR, _half(content, None), overwrite=False
        )
    )
    while not list(tmp_path.glob(".*passerelle-part/*")):
        await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await _soon_clean(tmp_path)
    assert not (tmp_path / "new").exists()
    assert not await running(str(tmp_path))


async def test_a_lost_connection_leaves_nothing(world: World, tree: Path, tmp_path: Path) -> None:
    content = await packed(world, tree)

    async def interrupted() -> AsyncIterator[bytes]:
        yield content[: len(content) // 2]
        world.server.drop_all()
        for _ in range(1000):
            yield bytes(65536)
            await asyncio.sleep(0)

    with pytest.raises(ConnectionFailed):
        await world.parts.archives.unpack(
            str(tmp_path / "new"), TAR, interrupted(), overwrite=False
        )
    await _soon_clean(tmp_path)
    assert not (tmp_path / "new").exists()


async def test_an_upload_that_stalls_gives_up_its_place(tree: Path, tmp_path: Path) -> None:
    async with remote(tmp_path, stall=0.5) as world:
        content = await packed(world, tree)
        with pytest.raises(DeadlineExceeded):
            await world.parts.archives.unpack(
                str(tmp_path / "new"), TAR, _half(content, None), overwrite=False
            )
        await _soon_clean(tmp_path)


@pytest.mark.parametrize(
    "text", ["d/../..", "d/../../..", "d/..", "a/../../..", "a/../b", "..", "."]
)
def test_links_are_judged_by_where_directories_really_lead(tmp_path: Path, text: str) -> None:
    """`d` is a link to the directory `a/b`, so that `d/..` is `a`."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "d").symlink_to("a/b")
    (tmp_path / "link").symlink_to(text)
    inside = Path(os.path.realpath(tmp_path / "link")).is_relative_to(tmp_path)
    top = os.fsencode(tmp_path)
    assert leads_out(top + b"/link", top, b"/final") != inside

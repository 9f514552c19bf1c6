"""What every implementation of the Files port must do: over the remote helper, and over plain commands.

Each test runs on a real SSH server (asyncssh, this process) whose commands and SFTP work on a temporary directory.
"""

import asyncio
import errno
import hashlib
import os
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from passerelle.runtime.errors import BackendError, DeadlineExceeded, InvalidArgument, Overloaded
from passerelle.storage.errors import FileError
from passerelle.storage.values import Excerpt, Listing, WriteConditions
from tests.examples import examples
from tests.unit.storage.world import World, debris, pieces, remote

pytestmark = pytest.mark.usefixtures("alice")

COLUMNS = (("n", "name"), ("kind", "letter"), ("100%", "size_text"), ("to", "target"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with something of every kind in it."""
    (tmp_path / "b.txt").write_text("bbb")
    (tmp_path / "B.txt").write_text("")
    (tmp_path / ".hidden").write_text("h")
    (tmp_path / "link").symlink_to("b.txt")
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "sub" / "deep" / "x").write_text("x")
    (tmp_path / "sub" / "a").write_text("a")
    (tmp_path / "suid").write_text("")
    (tmp_path / "suid").chmod(0o4751)
    (tmp_path / "sticky").mkdir()
    (tmp_path / "sticky").chmod(0o1777)
    os.mkfifo(tmp_path / "fifo")
    return tmp_path


def output_of(*argv: str) -> bytes:
    """What a program of this machine prints, in the C locale."""
    return subprocess.run(argv, env={"LC_ALL": "C"}, capture_output=True, check=True).stdout


async def refused(world: World, path: Path | str, call: str) -> FileError:
    """The FileError of a call that must fail."""
    with pytest.raises(FileError) as raised:
        await _called(world, str(path), call)
    return raised.value


async def _called(world: World, path: str, call: str) -> object:
    match call:
        case "stat":
            return await world.files.stat(path)
        case "follow":
            return await world.files.stat(path, dereference=True)
        case "list":
            return await world.files.list(path, Listing())
        case "list-follow":
            return await world.files.list(path, Listing(dereference=True))
        case "read":
            return await world.files.read(path, 0, 10)
        case "head":
            return await world.files.excerpt(path, Excerpt("lines", 1, False, True), 100)
        case "mkdir":
            return await world.files.make_directory(path)
        case "remove":
            await world.files.remove(path)
            return None
        case "write":
            return await world.files.write(path, pieces(b"x"))
        case _:
            async with world.files.opened(path) as file:
                return file.size


@pytest.mark.parametrize("name", ["b.txt", "sub", "link", "fifo", "suid", "sticky"])
async def test_stat_tells_what_lstat_tells(world: World, tree: Path, name: str) -> None:
    info = await world.files.stat(str(tree / name))
    real = (tree / name).lstat()
    assert info.name == str(tree / name)
    assert (info.mode, info.size, info.inode) == (real.st_mode, real.st_size, real.st_ino)
    assert (info.uid, info.gid, info.links) == (real.st_uid, real.st_gid, real.st_nlink)
    assert (info.device, info.mtime_ns) == (real.st_dev, real.st_mtime_ns)
    assert (info.user, info.group) == ((tree / name).owner(), (tree / name).group())
    assert stat.filemode(real.st_mode) == info.letter + info.permissions
    assert info.target == ("b.txt" if name == "link" else None)


async def test_stat_follows_a_link_when_asked(world: World, tree: Path) -> None:
    info = await world.files.stat(str(tree / "link"), dereference=True)
    assert (info.letter, info.size, info.target) == ("-", 3, None)


@pytest.mark.parametrize(
    ("make", "call", "step", "number"),
    [
        ("nope", "stat", "access", errno.ENOENT),
        ("b.txt/x", "stat", "access", errno.ENOTDIR),
        ("n" * 300, "stat", "access", errno.ENAMETOOLONG),
        ("nope", "follow", "access", errno.ENOENT),
        ("broken", "follow", "access", errno.ENOENT),
        ("nope", "list", "access", errno.ENOENT),
        ("nope", "read", "open", errno.ENOENT),
        ("sub", "read", "read", errno.EISDIR),
        ("fifo", "read", "read", errno.EINVAL),
        ("nope", "head", "open", errno.ENOENT),
        ("sub", "head", "read", errno.EISDIR),
        ("nope", "opened", "open", errno.ENOENT),
        ("sub", "opened", "read", errno.EISDIR),
        ("fifo", "opened", "read", errno.EINVAL),
        ("sub", "mkdir", "mkdir", errno.EEXIST),
        ("nope/x", "mkdir", "mkdir", errno.ENOENT),
        ("b.txt/x", "mkdir", "mkdir", errno.ENOTDIR),
        ("nope", "remove", "unlink", errno.ENOENT),
        ("sub", "write", "open", errno.EISDIR),
        ("nope/x", "write", "open", errno.ENOENT),
        ("b.txt/x", "write", "open", errno.ENOTDIR),
    ],
)
async def test_refusals_carry_step_path_and_errno(
    world: World, tree: Path, make: str, call: str, step: str, number: int
) -> None:
    (tree / "broken").symlink_to("nowhere")
    error = await refused(world, tree / make, call)
    assert (error.errno, error.path) == (number, str(tree / make))
    assert error.step == step or (make, error.step) == (
        "nope",
        "access",
    )  # the fallback looks first


async def test_links_in_a_circle_are_refused(world: World, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert (await refused(world, tmp_path / "a", "list-follow")).meaning.http == 400


async def test_listing_in_byte_order(world: World, tree: Path) -> None:
    entries = await world.files.list(str(tree), Listing())
    names = ["B.txt", "b.txt", "fifo", "link", "sticky", "sub", "suid"]
    assert [info.name for info in entries] == names
    shown = await world.files.list(str(tree), Listing(hidden=True))
    assert [info.name for info in shown] == [".hidden", *names]


async def test_recursive_listing_in_the_order_of_ls(world: World, tree: Path) -> None:
    entries = await world.files.list(str(tree), Listing(recursive=True, hidden=True))
    names = [info.name for info in entries]
    assert names[-4:] == ["suid", "sub/a", "sub/deep", "sub/deep/x"]
    lines = output_of("ls", "-AR1", str(tree)).decode().splitlines()
    basenames = [line for line in lines if line and not line.endswith(":")]
    assert [os.path.basename(name) for name in names] == basenames


async def test_a_link_to_above_does_not_go_round(world: World, tree: Path) -> None:
    (tree / "sub" / "up").symlink_to(tree / "sub")
    (tree / "sub" / "top").symlink_to(tree)
    listing = Listing(recursive=True, dereference=True)
    try:
        names = [info.name for info in await world.files.list(str(tree), listing)]
    except BackendError:  # find(1) fails: "File system loop detected"
        return
    assert {"sub/up", "sub/top"} <= set(names)
    assert not {"sub/up/a", "sub/top/sub"} & set(names)


async def test_listing_a_file_names_it_as_given(world: World, tree: Path) -> None:
    [info] = await world.files.list(str(tree / "link"), Listing())
    assert (info.name, info.letter) == (str(tree / "link"), "l")


async def test_a_broken_link_fails_a_dereferencing_listing(world: World, tree: Path) -> None:
    (tree / "broken").symlink_to("nowhere")
    error = await refused(world, tree, "list-follow")
    assert (error.step, error.path) == ("access", str(tree / "broken"))


async def test_table_has_the_columns_asked_for(world: World, tree: Path) -> None:
    table = orjson.loads(await world.files.table(str(tree), Listing(), COLUMNS))
    assert table[1] == {"n": "b.txt", "kind": "-", "100%": "3", "to": None}
    assert table[3] == {"n": "link", "kind": "l", "100%": "5", "to": "b.txt"}


async def test_local_time_is_the_systems(world: World, tree: Path) -> None:
    os.utime(tree / "b.txt", ns=(0, 1767323045_999999999))
    info = await world.files.stat(str(tree / "b.txt"))
    date = output_of("date", "-r", str(tree / "b.txt"), "+%Y-%m-%dT%H:%M:%S")
    assert info.local_time == date.decode().strip()
    assert info.mtime_ns == 1767323045_999999999


name_bytes = st.binary(min_size=1, max_size=40).filter(lambda name: not set(name) & set(b"/\0"))
names = st.one_of(
    st.text(min_size=1, max_size=60).map(lambda text: text.encode(errors="ignore")),
    st.sampled_from([b"'", b'"', b"\\", b"a\nb", b"-rf", b" ", b"$(id)", b"`id`;", "é日".encode()]),
    st.just(b"n" * 255),
).filter(lambda name: name not in (b".", b"..", b"") and not set(name) & set(b"/\0"))


@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=names.filter(lambda name: len(name) <= 255))
async def test_any_name_goes_in_and_comes_out(world: World, name: bytes) -> None:
    path = str(world.root / name.decode())
    await world.files.write(path, pieces(b"one\n", b"two\n"))
    [info] = await world.files.list(str(world.root), Listing(hidden=True))
    assert info.name.encode() == name
    assert (await world.files.stat(path)).size == 8
    assert await world.files.excerpt(path, Excerpt("lines", 1, True, False), 100) == b"two\n"
    assert await world.files.read(path, 4, 3) == b"two"
    await world.files.remove(path)
    assert os.listdir(world.root) == []


@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=name_bytes.filter(lambda name: name not in (b".", b"..")))
async def test_a_name_that_is_not_text_never_breaks_a_listing(world: World, name: bytes) -> None:
    path = os.path.join(os.fsencode(world.root), name)
    os.close(os.open(path, os.O_CREAT))
    table = await world.files.table(str(world.root), Listing(hidden=True), COLUMNS)
    os.unlink(path)
    assert [row["100%"] for row in orjson.loads(table)] == ["0"]


@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    content=st.lists(st.sampled_from([b"\n", b"ab\n", b"c"])).map(b"".join),
    unit=st.sampled_from(["lines", "bytes"]),
    count=st.integers(0, 12),
    from_end=st.booleans(),
    before=st.booleans(),
)
async def test_excerpts_are_those_of_head_and_tail(
    world: World, content: bytes, unit: str, count: int, from_end: bool, before: bool
) -> None:
    path = world.root / "file"
    path.write_bytes(content)
    mark = f"-{count}" if from_end else f"{count}" if before else f"+{count + 1}"
    expected = output_of("head" if before else "tail", f"--{unit}={mark}", str(path))
    excerpt = Excerpt(unit, count, from_end, before)  # type: ignore[arg-type]
    assert await world.files.excerpt(str(path), excerpt, 1000) == expected


async def test_excerpts_keep_their_bytes(world: World, tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(bytes(range(256)) * 4)
    excerpt = Excerpt("bytes", 200, from_end=False, before=True)
    got = await world.files.excerpt(str(tmp_path / "bytes"), excerpt, 1000)
    assert got == bytes(range(200))


async def test_excerpts_of_a_big_file(world: World, tmp_path: Path) -> None:
    lines = [b"%07d\n" % number for number in range(300_000)]
    (tmp_path / "big").write_bytes(b"".join(lines))
    for excerpt, expected in (
        (Excerpt("lines", 70_000, True, False), lines[-70_000:]),
        (Excerpt("lines", 70_000, False, True), lines[:70_000]),
        (Excerpt("lines", 230_000, True, True), lines[:70_000]),
        (Excerpt("lines", 230_000, False, False), lines[230_000:]),
    ):
        got = await world.files.excerpt(str(tmp_path / "big"), excerpt, 1 << 20)
        assert got == b"".join(expected)


async def test_an_excerpt_that_is_too_large_is_refused(world: World, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 101)
    with pytest.raises(FileError) as raised:
        await world.files.excerpt(str(tmp_path / "big"), Excerpt("lines", 1, False, True), 100)
    assert raised.value.http == 413


async def test_reading_pieces(world: World, tmp_path: Path) -> None:
    content = os.urandom(600_000)
    (tmp_path / "file").write_bytes(content)
    path = str(tmp_path / "file")
    assert await world.files.read(path, 1000, 300_000) == content[1000:301_000]
    assert await world.files.read(path, 0, 1 << 30, 600_000) == content
    assert await world.files.read(path, 600_000, 5) == b""
    with pytest.raises(FileError) as raised:
        await world.files.read(path, 0, 10, 599_999)
    assert raised.value.errno == errno.EFBIG


async def test_reading_a_stream(world: World, tmp_path: Path) -> None:
    content = os.urandom(5_000_000)
    (tmp_path / "file").write_bytes(content)
    async with world.files.opened(str(tmp_path / "file")) as file:
        assert file.size == len(content)
        got = [chunk async for chunk in file.chunks(0, file.size)]
        some = [chunk async for chunk in file.chunks(4_000_001, 17)]
    assert b"".join(got) == content
    assert b"".join(some) == content[4_000_001:4_000_018]


async def test_making_directories(world: World, tmp_path: Path) -> None:
    made = await world.files.make_directory(str(tmp_path / "new"))
    assert (made.name, made.letter) == (str(tmp_path / "new"), "d")
    deep = tmp_path / "new" / "a b" / "-c"
    await world.files.make_directory(str(deep), parents=True)
    await world.files.make_directory(str(deep), parents=True)
    assert deep.is_dir()


async def test_removing_a_tree_spares_what_its_links_point_to(world: World, tree: Path) -> None:
    (tree / "sub" / "deep" / "out").symlink_to(tree / "sticky")
    (tree / "sub" / "file-out").symlink_to(tree / "b.txt")
    (tree / "sticky" / "kept").write_text("")
    await world.files.remove(str(tree / "sub"))
    assert not (tree / "sub").exists()
    assert (tree / "sticky" / "kept").exists()
    await world.files.remove(str(tree / "link"))
    assert (tree / "b.txt").exists()
    assert not (tree / "link").is_symlink()


async def test_writing_and_overwriting(world: World, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    digest = hashlib.sha256(content).hexdigest()
    path = tmp_path / "file"
    chunks = pieces(content[:7], b"", content[7:])
    written = await world.files.write(str(path), chunks, WriteConditions(sha256=digest))
    assert (written.size, written.sha256) == (len(content), digest)
    assert path.read_bytes() == content
    path.chmod(0o640)
    await world.files.write(str(path), pieces())
    assert path.read_bytes() == b""
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert debris(tmp_path) == []


async def test_writing_to_a_link_writes_what_it_points_to(world: World, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there/file")
    await world.files.write(str(tmp_path / "link"), pieces(b"1"))  # it dangles
    await world.files.write(str(tmp_path / "link"), pieces(b"22"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "file").read_bytes() == b"22"


async def test_a_wrong_checksum_leaves_the_old_file(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(InvalidArgument):
        await world.files.write(
            str(tmp_path / "file"), pieces(b"new"), WriteConditions(sha256="0" * 64)
        )
    assert (tmp_path / "file").read_text() == "old"
    assert debris(tmp_path) == []


async def test_a_sender_that_fails_leaves_nothing(world: World, tmp_path: Path) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"x" * 1_000_000
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await world.files.write(str(tmp_path / "file"), failing())
    assert os.listdir(tmp_path) == []


async def test_a_cancelled_write_leaves_nothing(world: World, tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(10):  # more than goes in one exchange
            yield b"x" * 300_000
        begun.set()
        await asyncio.sleep(3600)

    writing = asyncio.create_task(world.files.write(str(tmp_path / "file"), endless()))
    await begun.wait()
    assert debris(tmp_path) != []
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert os.listdir(tmp_path) == []


async def test_identical_listings_in_flight_are_right(world: World, tree: Path) -> None:
    calls = [world.files.table(str(tree), Listing(), COLUMNS) for _ in range(40)]
    assert len(set(await asyncio.gather(*calls))) == 1


async def test_a_listing_sees_what_was_written_before_it(world: World, tmp_path: Path) -> None:
    async def write_and_list(number: int) -> None:
        await world.files.write(str(tmp_path / f"{number}"), pieces(b""))
        entries = await world.files.list(str(tmp_path), Listing())
        assert f"{number}" in {info.name for info in entries}

    await asyncio.gather(*(write_and_list(number) for number in range(examples(60))))


async def test_a_lost_connection_is_opened_again_for_a_read(world: World, tree: Path) -> None:
    await world.files.stat(str(tree))
    world.server.drop_all()
    assert (await world.files.stat(str(tree / "b.txt"))).size == 3
    assert await world.files.read(str(tree / "b.txt"), 0, 9) == b"bbb"


@pytest.mark.parametrize("helper", [True, False])
async def test_what_takes_too_long_is_given_up(tmp_path: Path, helper: bool) -> None:
    timeout = {"command": 0.0001}
    async with remote(tmp_path, helper=helper, timeout=timeout) as world:
        with pytest.raises(DeadlineExceeded, match="Command execution timeout"):
            await world.files.stat(str(tmp_path))


@pytest.mark.parametrize("helper", [True, False])
async def test_more_than_may_wait_are_refused_and_the_next_works(
    tmp_path: Path, helper: bool
) -> None:
    async with remote(tmp_path, helper=helper, max_waiting=2, max_channels=2) as world:
        calls = [world.files.stat(str(tmp_path)) for _ in range(64)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        errors = [error for error in results if isinstance(error, BaseException)]
        assert errors
        assert {type(error) for error in errors} == {Overloaded}
        assert (await world.files.stat(str(tmp_path))).letter == "d"

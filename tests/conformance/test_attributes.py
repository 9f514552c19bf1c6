"""Attributes and checksums of files: over the remote helper, and over plain commands.

Each test runs on a real SSH server (asyncssh, this process) whose commands and SFTP work on a temporary directory.
"""

import asyncio
import errno
import hashlib
import os
import subprocess
import uuid
from asyncio.subprocess import PIPE
from contextlib import aclosing
from pathlib import Path

import google_crc32c
import pytest
import xxhash
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from passerelle.runtime.errors import DeadlineExceeded
from passerelle.storage.access.system_access import SystemAccess
from passerelle.storage.commands.plain_commands import PlainCommands
from passerelle.storage.config import StorageSection
from passerelle.storage.errors import FileError, Outside
from passerelle.storage.files.attributes import InvalidAttribute
from passerelle.storage.files.checksums import Algorithm
from tests.examples import examples, strictly
from tests.unit.storage.world import World, remote

pytestmark = pytest.mark.usefixtures("alice")

NAMES = st.one_of(
    st.binary(min_size=1, max_size=255), st.text(min_size=1, max_size=60).map(str.encode)
).filter(lambda name: not {0, ord("/")} & set(name) and name not in (b".", b".."))
MODES = [
    "644",
    "0",
    "07777",
    "2755",
    "u+x",
    "go-rwx",
    "a=",
    "u=rwX,g=u,o=g",
    "+x",
    "=755",
    "g+s,+t",
]


async def checksum(world: World, path: object, algorithm: Algorithm) -> str:
    async with aclosing(world.parts.checksums.compute(str(path), algorithm)) as steps:
        last = [step async for step in steps][-1]
    assert last.size == last.total
    return str(last.result)


def changed_by_chmod(path: Path, mode: str) -> None:
    subprocess.run(("chmod", mode, path), check=True)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["file", "directory"])
async def test_modes_are_those_of_chmod(world: World, tmp_path: Path, mode: str, kind: str) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for path in (ours, theirs):
        path.mkdir() if kind == "directory" else path.write_text("")
        path.chmod(0o2750)
    changed_by_chmod(theirs, mode)
    await world.parts.attributes.change_mode(str(ours), mode)
    assert ours.stat().st_mode == theirs.stat().st_mode


async def test_a_wrong_mode_is_refused_before_anything_is_run(world: World) -> None:
    before = world.server.logins
    with pytest.raises(InvalidAttribute) as raised:
        await world.parts.attributes.change_mode("/nowhere", "8")
    assert [field.name for field in raised.value.fields] == ["mode"]
    assert world.server.logins == before


@pytest.mark.parametrize("target", ["file", "../x", "nowhere/../x", "-rf", "it's", "\n", "日本"])
async def test_links_say_what_was_given(world: World, tmp_path: Path, target: str) -> None:
    (tmp_path / "dir").mkdir()
    await world.parts.attributes.make_symlink(str(tmp_path / "dir" / "link"), target)
    assert os.readlink(tmp_path / "dir" / "link") == target


@pytest.mark.parametrize("target", ["/etc/passwd", "../" * 40 + "x", "way-out/x"])
async def test_links_lead_to_nothing_outside(world: World, tmp_path: Path, target: str) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "way-out").symlink_to("/etc")
    with pytest.raises(Outside) as raised:
        await world.parts.attributes.make_symlink(str(tmp_path / "dir" / "link"), target)
    assert [field.name for field in raised.value.fields] == ["target"]
    assert not os.path.lexists(tmp_path / "dir" / "link")


@pytest.mark.parametrize(
    ("name", "number"), [("file", errno.EEXIST), ("dir", errno.EEXIST), ("no/x", errno.ENOENT)]
)
async def test_links_replace_nothing(world: World, tmp_path: Path, name: str, number: int) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "dir").mkdir()
    with pytest.raises(FileError) as raised:
        await world.parts.attributes.make_symlink(str(tmp_path / name), "target")
    assert (raised.value.step, raised.value.errno) == ("symlink", number)
    assert list((tmp_path / "dir").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "number"), [("nope", errno.ENOENT), ("broken", errno.ENOENT), ("f/x", errno.ENOTDIR)]
)
async def test_nothing_to_change(world: World, tmp_path: Path, name: str, number: int) -> None:
    (tmp_path / "f").write_text("")
    (tmp_path / "broken").symlink_to("nowhere")
    path, attributes = str(tmp_path / name), world.parts.attributes
    for change in (attributes.change_mode(path, "644"), attributes.change_owner(path, "0", "")):
        with pytest.raises(FileError) as raised:
            await change
        assert (raised.value.path, raised.value.errno) == (path, number)


async def test_owners_nobody_knows(world: World, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(InvalidAttribute, match="invalid user: 'nobody-here'"):
        await world.parts.attributes.change_owner(str(tmp_path / "f"), "nobody-here", "")
    with pytest.raises(InvalidAttribute, match="invalid group: ':nobody-here'"):
        await world.parts.attributes.change_owner(str(tmp_path / "f"), "", "nobody-here")


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
async def test_owner_and_group_each_alone(world: World, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("")
    for user, group, expected in (
        ("12345", "", (12345, os.getgid())),
        ("", "23456", (12345, 23456)),
        ("", "", (12345, 23456)),
        ("root", "root", (0, 0)),
    ):
        await world.parts.attributes.change_owner(str(path), user, group)
        assert (path.stat().st_uid, path.stat().st_gid) == expected


async def test_kinds_of_files(world: World, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("héllo\n")
    (tmp_path / "link").symlink_to("é'x")
    os.mkfifo(tmp_path / "fifo")
    kinds = [
        await world.parts.attributes.kind(str(tmp_path / name))
        for name in ("text", "link", "fifo", ".", "nope")
    ]
    assert kinds[:4] == [
        "Unicode text, UTF-8 text",
        "broken symbolic link to é'x",
        "fifo (named pipe)",
        "directory",
    ]
    assert "No such file or directory" in kinds[4]


@pytest.mark.parametrize("content", [b"", b"123456789", os.urandom(3_000_000)], ids=len)
async def test_checksums(world: World, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    result = {algorithm: await checksum(world, path, algorithm) for algorithm in Algorithm}
    assert result == {
        Algorithm.SHA256: hashlib.sha256(content).hexdigest(),
        Algorithm.MD5: hashlib.md5(content, usedforsecurity=False).hexdigest(),
        Algorithm.CRC32C: f"{google_crc32c.value(content):08x}",
        Algorithm.XXH3: xxhash.xxh3_64_hexdigest(content),
    }
    assert await world.parts.checksums.sha256(str(path)) == result[Algorithm.SHA256]


async def test_checksums_that_the_algorithms_are_known_by(world: World, tmp_path: Path) -> None:
    """CRC-32C's check value is of RFC 3720's polynomial; XXH3's of nothing is from the algorithm's own tests."""
    (tmp_path / "check").write_bytes(b"123456789")
    (tmp_path / "empty").write_bytes(b"")
    assert await checksum(world, tmp_path / "check", Algorithm.CRC32C) == "e3069283"
    assert await checksum(world, tmp_path / "empty", Algorithm.XXH3) == "2d06800538d394c2"


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize(
    ("name", "number"),
    [("dir", errno.EISDIR), ("fifo", errno.EINVAL), ("nope", errno.ENOENT)],
)
async def test_checksums_of_what_has_none(
    world: World, tmp_path: Path, algorithm: Algorithm, name: str, number: int
) -> None:
    (tmp_path / "dir").mkdir()
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(FileError) as raised:
        await checksum(world, tmp_path / name, algorithm)
    assert (raised.value.errno, raised.value.path) == (number, str(tmp_path / name))


@pytest.mark.parametrize("algorithm", [Algorithm.SHA256, *strictly(Algorithm.XXH3)])
async def test_a_long_checksum_tells_how_far_it_is_and_can_be_given_up(
    tmp_path: Path, algorithm: Algorithm
) -> None:
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(1 << 42)  # takes no room, but an hour to read
    timeout = {"command": 2, "login": 30, "connection": 30}
    async with remote(tmp_path, timeout=timeout) as world:
        compute = world.parts.checksums.compute(str(tmp_path / "huge"), algorithm)
        async with aclosing(compute) as steps:
            first, second = await anext(steps), await anext(steps)
        assert 0 < first.size < second.size < second.total == 1 << 42
        assert first.result is second.result is None
        # It has let go of the connection, which answers others.
        await world.files.stat(str(tmp_path))


async def running(word: str) -> int:
    """How many processes have this word in their command lines."""
    process = await asyncio.create_subprocess_exec("pgrep", "-f", word, stdout=PIPE)
    stdout, _ = await process.communicate()
    return len(stdout.split())


@pytest.mark.parametrize("helper", [True, False], ids=["helper", "commands"])
async def test_a_program_that_takes_too_long_is_ended(tmp_path: Path, helper: bool) -> None:
    timeout = {"command": 2, "login": 30, "connection": 30}
    word = f"passerelle-sleeper-{uuid.uuid4()}"
    argv = ("sh", "-c", "while true; do sleep 1; done", word)
    async with remote(tmp_path, helper=helper, timeout=timeout) as world:
        access = SystemAccess(
            world.pool, world.system, StorageSection(remote_helper=helper), PlainCommands
        )
        calling = asyncio.ensure_future(
            access.query(lambda files: files.run_program(str(tmp_path), argv, dereference=False))
        )
        while not await running(word):
            assert not calling.done()
        with pytest.raises(DeadlineExceeded):
            await calling
        async with asyncio.timeout(20):
            while await running(word):
                await asyncio.sleep(0.1)


async def test_a_short_checksum_has_the_time_of_a_command(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(1 << 42)
    timeout = {"command": 1, "login": 30, "connection": 30}
    for helper in (True, False):
        async with remote(tmp_path, helper=helper, timeout=timeout) as world:
            with pytest.raises(DeadlineExceeded):
                await world.parts.checksums.sha256(str(tmp_path / "huge"))


def as_text(name: bytes) -> bool:
    try:
        return bool(name.decode())
    except UnicodeDecodeError:
        return False


@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(name=NAMES)
async def test_any_name(
    world: World, tmp_path: Path, request: pytest.FixtureRequest, name: bytes
) -> None:
    # The server of this test, unlike OpenSSH's, takes no command lines that are not UTF-8.
    assume(as_text(name) or "helper" in request.node.name)
    path = os.fsencode(tmp_path) + b"/" + name
    text = os.fsdecode(path)
    Path(text).write_bytes(b"x\n")
    try:
        await world.parts.attributes.change_mode(text, "600")
        assert os.stat(path).st_mode & 0o7777 == 0o600
        await world.parts.attributes.change_owner(text, str(os.getuid()), "")
        assert await world.parts.attributes.kind(text) == "ASCII text"
        assert await world.parts.checksums.sha256(text) == hashlib.sha256(b"x\n").hexdigest()
        os.unlink(path)
        await world.parts.attributes.make_symlink(text, os.fsdecode(name))
        assert os.readlink(path) == name
    finally:
        os.unlink(path)


@pytest.mark.parametrize(
    "name",
    [
        "invalid user: 'x'",
        "dangling symlink",
        "cannot access",
        "x: Permission denied",
        "a\nb: c: d",
    ],
)
async def test_names_do_not_decide(world: World, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    (tmp_path / f"{name}.link").symlink_to("nowhere")
    attributes = world.parts.attributes
    with pytest.raises(InvalidAttribute, match="invalid group: ':nobody-here'"):
        await attributes.change_owner(str(tmp_path / name), "", "nobody-here")
    for path in (f"{tmp_path}/{name}.link", f"{tmp_path}/{name}.gone", f"{tmp_path}/{name}/x"):
        for change in (attributes.change_mode(path, "644"), world.files.read(path, 0, 1)):
            with pytest.raises(FileError) as raised:
                await change
            assert raised.value.errno == (errno.ENOTDIR if path.endswith("/x") else errno.ENOENT)

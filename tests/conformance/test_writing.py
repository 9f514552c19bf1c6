"""What every way to write a file keeps to: whole or absent.

Over the remote helper and over plain commands, each with content over SFTP and without.
"""

import asyncio
import errno
import hashlib
import os
import stat
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from passerelle.runtime.errors import FailedPrecondition, InvalidArgument, NotFound
from passerelle.storage.access.system_access import SystemAccess
from passerelle.storage.commands.plain_commands import PlainCommands
from passerelle.storage.config import StorageSection
from passerelle.storage.errors import Changed, FileError, PreconditionFailed
from passerelle.storage.files.uploads import TakenOver, Uploads
from passerelle.storage.files.writing import Target
from passerelle.storage.jobs.port import AgentWork, Leftovers, hidden_part
from passerelle.storage.jobs.private_files import PrivateFiles, Unfinished
from passerelle.storage.values import WriteConditions, WriteMode
from tests.examples import examples, strictly
from tests.unit.storage.world import World, Worlds, debris, pieces, remote

pytestmark = pytest.mark.usefixtures("alice")

CREATE, APPEND = WriteConditions(WriteMode.CREATE), WriteConditions(WriteMode.APPEND)
ANY_ID = "0123456789abcdef" * 2


@pytest_asyncio.fixture(
    params=["helper", "helper alone", "commands", *strictly("commands alone")],
    loop_scope="session",
)
async def world(request: pytest.FixtureRequest, worlds: Worlds, tmp_path: Path) -> World:
    helper, sftp = request.param.startswith("helper"), not request.param.endswith("alone")
    return await worlds.at(tmp_path, helper=helper, sftp=sftp)


@pytest.fixture
def uploads(world: World) -> Uploads:
    return world.parts.uploads


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def version(world: World, path: Path) -> str:
    return (await world.files.stat(str(path))).version


async def test_create_refuses_what_is_there_and_takes_no_content(world: World, path: Path) -> None:
    written = await world.files.write(str(path), pieces(b"first"), CREATE, cut_off_raises=True)
    assert written.version == await version(world, path)
    taken = False

    async def content() -> AsyncIterator[bytes]:
        nonlocal taken
        taken = True
        yield b"second"

    with pytest.raises(FileError) as raised:
        await world.files.write(str(path), content(), CREATE, cut_off_raises=True)
    assert (raised.value.errno, raised.value.http, taken) == (errno.EEXIST, 409, False)
    assert path.read_bytes() == b"first"


async def test_of_many_creators_one_wins(world: World, path: Path) -> None:
    calls = (
        world.files.write(str(path), pieces(b"%d" % n), CREATE, cut_off_raises=True)
        for n in range(8)
    )
    results = await asyncio.gather(*calls, return_exceptions=True)
    refused = [error for error in results if isinstance(error, FileError)]
    assert {error.errno for error in refused} == {errno.EEXIST}
    [winner] = [
        number for number, result in enumerate(results) if not isinstance(result, FileError)
    ]
    assert path.read_bytes() == b"%d" % winner
    assert debris(path.parent) == []


async def test_append_adds_to_what_is_there_and_makes_what_is_not(world: World, path: Path) -> None:
    content = os.urandom(2_500_000)
    await world.files.write(str(path), pieces(b"first"), APPEND, cut_off_raises=True)
    path.chmod(0o604)
    inode = path.stat().st_ino
    written = await world.files.write(str(path), pieces(content), APPEND, cut_off_raises=True)
    assert path.read_bytes() == b"first" + content
    assert (path.stat().st_ino, stat.S_IMODE(path.stat().st_mode)) == (inode, 0o604)
    assert (written.size, written.version) == (len(content), await version(world, path))
    assert debris(path.parent) == []


async def test_a_wrong_checksum_appends_nothing(world: World, path: Path) -> None:
    path.write_bytes(b"old")
    with pytest.raises(InvalidArgument):
        await world.files.write(
            str(path), pieces(b"x"), WriteConditions(WriteMode.APPEND, sha256="0" * 64)
        )
    assert path.read_bytes() == b"old"
    assert debris(path.parent) == []


async def test_if_match_writes_over_that_version_only(world: World, path: Path) -> None:
    first = await world.files.write(str(path), pieces(b"1"))
    second = await world.files.write(
        str(path), pieces(b"2"), WriteConditions(if_match=first.version)
    )
    with pytest.raises(PreconditionFailed) as raised:
        await world.files.write(str(path), pieces(b"3"), WriteConditions(if_match=first.version))
    assert (raised.value.http, path.read_bytes()) == (412, b"2")
    assert second.version in raised.value.detail
    await world.files.write(str(path), pieces(b"4"), WriteConditions(if_match="*"))
    path.unlink()
    with pytest.raises(PreconditionFailed):
        await world.files.write(str(path), pieces(b"5"), WriteConditions(if_match="*"))
    assert os.listdir(path.parent) == []


async def test_a_version_that_changes_while_content_arrives_is_kept(
    world: World, path: Path
) -> None:
    before = await world.files.write(str(path), pieces(b"1"))

    async def content() -> AsyncIterator[bytes]:
        yield b"mine"
        path.write_bytes(b"somebody else's")

    with pytest.raises(PreconditionFailed):
        await world.files.write(
            str(path), content(), WriteConditions(if_match=before.version), cut_off_raises=True
        )
    assert path.read_bytes() == b"somebody else's"
    assert debris(path.parent) == []


async def test_nobody_reads_a_new_file_before_it_is_whole(world: World, path: Path) -> None:
    async def content() -> AsyncIterator[bytes]:
        yield b"x" * 3_000_000  # more than goes in one exchange
        while not debris(path.parent):
            await asyncio.sleep(0.01)
        [part] = path.parent.iterdir()
        assert stat.S_IMODE(part.stat().st_mode) == 0o600

    await world.files.write(str(path), content())
    umask = os.umask(0o022)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


async def test_an_upload_in_pieces(uploads: Uploads, world: World, path: Path) -> None:
    content = os.urandom(1_500_000)
    upload = await uploads.create(str(path))
    assert await uploads.received(str(path), upload) == 0
    assert await uploads.write(str(path), upload, 0, pieces(content[:700_000])) == 700_000
    assert await uploads.received(str(path), upload) == 700_000
    # The tail again, and more of it.
    assert await uploads.write(str(path), upload, 600_000, pieces(content[600_000:])) == 1_500_000
    assert not path.exists()
    [part] = path.parent.iterdir()
    assert stat.S_IMODE(part.stat().st_mode) == 0o600
    conditions = WriteConditions(sha256=digest(content))
    written = await uploads.complete(str(path), upload, len(content), conditions)
    assert (written.size, written.version) == (len(content), await version(world, path))
    assert path.read_bytes() == content
    assert debris(path.parent) == []
    with pytest.raises(NotFound):
        await uploads.complete(str(path), upload, len(content), conditions)


async def test_what_lies_behind_the_offset_is_given_up(uploads: Uploads, path: Path) -> None:
    upload = await uploads.create(str(path))
    await uploads.write(str(path), upload, 0, pieces(b"0123456789"))
    assert await uploads.write(str(path), upload, 4, pieces(b"x")) == 5
    assert await uploads.received(str(path), upload) == 5
    await uploads.complete(str(path), upload, 5, WriteConditions())
    assert path.read_bytes() == b"0123x"


@pytest.mark.parametrize("offset", [-1, 4])
async def test_an_offset_beyond_what_has_arrived(uploads: Uploads, path: Path, offset: int) -> None:
    upload = await uploads.create(str(path))
    await uploads.write(str(path), upload, 0, pieces(b"abc"))
    with pytest.raises(InvalidArgument, match="offset must be between 0 and 3"):
        await uploads.write(str(path), upload, offset, pieces(b"d"))
    assert await uploads.received(str(path), upload) == 3


async def test_a_line_that_breaks_keeps_what_came(uploads: Uploads, path: Path) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield b"x" * 300_000
        raise ConnectionResetError

    upload = await uploads.create(str(path))
    with pytest.raises(ConnectionResetError):
        await uploads.write(str(path), upload, 0, breaking())
    received = await uploads.received(str(path), upload)
    assert received == 261_120  # whole blocks
    await uploads.write(str(path), upload, received, pieces(b"x" * (300_000 - received)))
    await uploads.complete(
        str(path), upload, 300_000, WriteConditions(sha256=digest(b"x" * 300_000))
    )


async def test_completing_what_is_not_what_was_announced(uploads: Uploads, path: Path) -> None:
    path.write_bytes(b"old")
    upload = await uploads.create(str(path))
    await uploads.write(str(path), upload, 0, pieces(b"new!"))
    for size, conditions, field in (
        (3, WriteConditions(), "size"),
        (4, WriteConditions(sha256="0" * 64), "sha256"),
    ):
        with pytest.raises(InvalidArgument) as raised:
            await uploads.complete(str(path), upload, size, conditions)
        assert [field_error.name for field_error in raised.value.fields] == [field]
    with pytest.raises(PreconditionFailed):
        await uploads.complete(str(path), upload, 4, WriteConditions(if_match="1-2-3"))
    with pytest.raises(FileError) as refused:
        await uploads.complete(str(path), upload, 4, CREATE)
    assert refused.value.errno == errno.EEXIST
    assert path.read_bytes() == b"old"
    await uploads.complete(
        str(path), upload, 4, WriteConditions(sha256=digest(b"new!"))
    )  # it was kept
    assert path.read_bytes() == b"new!"


async def test_completing_by_appending(uploads: Uploads, path: Path) -> None:
    path.write_bytes(b"old")
    upload = await uploads.create(str(path))
    await uploads.write(str(path), upload, 0, pieces(b"+new"))
    await uploads.complete(str(path), upload, 4, APPEND)
    assert path.read_bytes() == b"old+new"
    assert debris(path.parent) == []


async def test_aborting_leaves_nothing(uploads: Uploads, path: Path) -> None:
    upload = await uploads.create(str(path))
    await uploads.abort(str(path), upload)
    assert os.listdir(path.parent) == []
    for call in (uploads.abort, uploads.received):
        with pytest.raises(NotFound):
            await call(str(path), upload)


@pytest.mark.parametrize(
    "upload", ["", "..", "../" * 10 + "aa", "A" * 32, "a" * 31, "a" * 33, "a" * 32 + "\n", "٣" * 32]
)
async def test_an_id_that_cannot_be(uploads: Uploads, path: Path, upload: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        await uploads.write(str(path), upload, 0, pieces(b"x"))
    assert raised.value.fields[0].name == "upload_id"
    assert os.listdir(path.parent) == []


async def test_an_upload_that_nobody_began(uploads: Uploads, path: Path) -> None:
    with pytest.raises(NotFound):
        await uploads.write(str(path), ANY_ID, 0, pieces(b"x"))
    with pytest.raises(NotFound):
        await uploads.complete(str(path), ANY_ID, 0, WriteConditions())
    assert os.listdir(path.parent) == []


async def test_an_id_is_begun_once(uploads: Uploads, path: Path) -> None:
    assert await uploads.create(str(path), ANY_ID) == ANY_ID
    await uploads.write(str(path), ANY_ID, 0, pieces(b"kept"))
    with pytest.raises(FileError) as raised:
        await uploads.create(str(path), ANY_ID)
    assert raised.value.errno == errno.EEXIST
    assert await uploads.received(str(path), ANY_ID) == 4


async def test_the_later_of_two_writers_goes_on(uploads: Uploads, path: Path) -> None:
    begun = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield b"a" * 300_000
        begun.set()
        await asyncio.sleep(3600)

    upload = await uploads.create(str(path))
    first = asyncio.create_task(uploads.write(str(path), upload, 0, stalling()))
    await begun.wait()
    while await uploads.received(str(path), upload) < 261_120:
        await asyncio.sleep(0.01)
    assert await uploads.write(str(path), upload, 261_120, pieces(b"b" * 10)) == 261_130
    with pytest.raises(TakenOver):
        await first
    assert await uploads.received(str(path), upload) == 261_130


async def test_a_writer_that_is_cancelled_leaves_no_hole(uploads: Uploads, path: Path) -> None:
    """It is cancelled before the first of its writes is sent, when those behind it are asked for already."""
    content = b"".join(bytes([number]) * 261_120 for number in range(1, 21))

    async def at_once() -> AsyncIterator[bytes]:
        asyncio.get_running_loop().call_soon(writing.cancel)
        yield content

    upload = await uploads.create(str(path))
    writing = asyncio.create_task(uploads.write(str(path), upload, 0, at_once()))
    with pytest.raises(asyncio.CancelledError):
        await writing
    arrived = Path(await uploads.part(str(path), upload)).read_bytes()
    assert arrived == content[: len(arrived)]
    assert arrived


async def test_abandoned_parts_go_when_their_user_begins_another(
    uploads: Uploads, path: Path
) -> None:
    old = time.time() - 8 * 86_400
    young = await uploads.create(str(path))
    names = [".a.passerelle-part", ".b.1.passerelle-part", "c.passerelle-part", ".d"]
    for name in names:
        (path.parent / name).write_bytes(b"")
        os.utime(path.parent / name, (old, old))
    another = await uploads.create(str(path))
    left = set(os.listdir(path.parent))
    parts = {f".file.{upload}.passerelle-part" for upload in (young, another)}
    assert left == {"c.passerelle-part", ".d"} | parts


@settings(
    max_examples=examples(15),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    name=st.one_of(
        st.just(b"n" * 255),
        st.just(("日" * 85).encode()),
        st.sampled_from([b"'", b"a\nb", b"-rf", b" ", b"$(id)", b"`id`;", b"\\", b"*"]),
    )
)
async def test_uploads_under_any_name(world: World, name: bytes) -> None:
    uploads, path = world.parts.uploads, str(world.root / name.decode())
    upload = await uploads.create(path)
    await uploads.write(path, upload, 0, pieces(b"one"))
    await uploads.complete(path, upload, 3, WriteConditions(sha256=digest(b"one")))
    assert [os.fsencode(entry) for entry in os.listdir(world.root)] == [name]
    await world.files.remove(path)


@given(st.binary(min_size=1, max_size=255).filter(lambda name: not set(name) & set(b"/\0")))
async def test_the_names_of_parts_fit(name: bytes) -> None:
    real = os.fsdecode(b"/d/" + name)
    part = os.fsencode(Target(real, real, None).part(ANY_ID))
    directory, hidden = os.path.split(part)
    assert directory == b"/d"
    assert len(hidden) <= 255
    assert hidden.startswith(b".")


async def test_an_upload_through_a_link_writes_what_it_points_to(
    uploads: Uploads, path: Path
) -> None:
    (path.parent / "there").mkdir()
    path.symlink_to("there/real")
    upload = await uploads.create(str(path))
    await uploads.write(str(path), upload, 0, pieces(b"x"))
    await uploads.complete(str(path), upload, 1, WriteConditions())
    assert path.is_symlink()
    assert (path.parent / "there" / "real").read_bytes() == b"x"


async def _read(world: World, path: Path, *, change: bytes, offset: int = 0) -> bytes:
    """Read a file whose content `change` replaces in place while it is read."""
    got = b""
    async with world.files.opened(str(path)) as file:
        async for chunk in file.chunks(offset, file.size - offset):
            if not got:
                with path.open("r+b") as there:
                    there.write(change)
                os.utime(path, ns=(0, time.time_ns()))
            got += chunk
    return got


async def test_a_file_that_changes_is_never_read_to_its_end(world: World, path: Path) -> None:
    content = bytes(4_000_000)
    path.write_bytes(content)
    with pytest.raises(Changed):
        await _read(world, path, change=content)
    with pytest.raises(Changed):
        await _read(world, path, change=content, offset=5)
    with pytest.raises(Changed):
        await _read(world, path, change=content + b"more")


async def test_a_part_of_a_growing_file_may_be_read(world: World, path: Path) -> None:
    path.write_bytes(bytes(4_000_000))
    assert await _read(world, path, change=bytes(4_000_001), offset=5) == bytes(3_999_995)


async def _read_while_replaced(world: World, path: Path, content: bytes) -> bytes:
    path.write_bytes(content)
    got = b""
    async with world.files.opened(str(path)) as file:
        async for chunk in file.chunks(0, file.size):
            if not got:
                await world.files.write(str(path), pieces(b"new"))
            got += chunk
    return got


async def test_a_file_that_is_replaced_is_read_as_it_was(path: Path) -> None:
    content = os.urandom(4_000_000)
    async with remote(path.parent) as world:
        assert await _read_while_replaced(world, path, content) == content
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("helper", [True, False])
async def test_without_sftp_a_file_that_is_replaced_is_told_as_changed(
    path: Path, helper: bool
) -> None:
    async with remote(path.parent, helper=helper, sftp=False) as world:
        with pytest.raises(Changed):
            await _read_while_replaced(world, path, os.urandom(4_000_000))
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("helper", [True, False])
@pytest.mark.parametrize("sftp", [True, False])
async def test_files_of_transfers_are_their_users_alone(
    tmp_path: Path, helper: bool, sftp: bool
) -> None:
    left, work = Leftovers(hidden_part("/x")), AgentWork("", {"secret": "x"})
    async with remote(tmp_path, helper=helper, sftp=sftp) as world:
        access = SystemAccess(
            world.pool, world.system, StorageSection(remote_helper=helper), PlainCommands
        )
        files, transfer = PrivateFiles(access, "lab"), str(uuid.uuid4())
        path = Path(await files.put(str(tmp_path), transfer, AgentWork("", {"secret": "x"}, left)))
        await files.record(str(path), "77")
        assert path.read_text().endswith('\n{"secret": "x"}')
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        result = Unfinished(str(path), "77", "lab", left)
        assert await files.unfinished(str(tmp_path), (), 9) == [result]
        assert await PrivateFiles(access, "other").unfinished(str(tmp_path), (), 9) == []
        assert await files.unfinished(str(tmp_path), (str(path),), 9) == []
        with pytest.raises(FailedPrecondition, match="cannot work"):
            await files.put(str(tmp_path), transfer, work)
        for _ in range(2):
            await files.discard(str(path))
            assert not path.exists()
        assert await files.read([str(path)]) == []
        with pytest.raises(FailedPrecondition, match="No such file"):
            await files.put(str(tmp_path / "nowhere"), transfer, work)

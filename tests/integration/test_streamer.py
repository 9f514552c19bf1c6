"""The staging method `streamer`: real jobs, FirecREST's own client, and clients that do wrong."""

import asyncio
import base64
import errno
import hashlib
import json
import logging
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from streamer import streamer_client
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    ConnectionClosedError,
    InvalidMessage,
    InvalidStatus,
)

from passerelle.runtime.errors import TooLarge
from passerelle.storage.errors import FileError, TargetExists
from passerelle.storage.jobs.port import TransferJobs
from passerelle.storage.staging.port import Staged, StagingRequest
from passerelle.storage.staging.streamer.method import Streamer
from passerelle.storage.staging.streamer.wire import Coordinates, StreamerRequest
from tests.unit.storage.background_jobs import BackgroundJobs, PrivateDirectory
from tests.unit.storage.world import World, as_alice, debris

CHUNK = 5 << 20
LIMIT = 3 * CHUNK
# One more for each test run at a time: the ranges of two must not meet.
FIRST = 42_000 + os.getpid() % 2000 * 10


@pytest.fixture
async def jobs() -> AsyncIterator[BackgroundJobs]:
    background_jobs = BackgroundJobs()
    yield background_jobs
    await background_jobs.stop()


@pytest.fixture
def streamer(world: World, jobs: BackgroundJobs) -> Streamer:
    return made(world, jobs)


def made(world: World, jobs: BackgroundJobs, **options: Any) -> Streamer:
    here: dict[str, Any] = {
        "host": "127.0.0.1",
        "public_ips": ["127.0.0.1"],
        "port_range": [FIRST, FIRST + 9],
        "inbound_transfer_limit": LIMIT,
        "wait_timeout": 20,
        "attempts": 100_000,
    }
    chosen = Streamer.Options.model_validate(here | options)
    submitted = TransferJobs(world.system, jobs, PrivateDirectory(), "PASSERELLE_JOB_ID")
    return Streamer(world.system, world.files, submitted, chosen)


def coordinates(staged: Staged) -> dict[str, Any]:
    assert isinstance(staged.instructions, Coordinates)
    return dict(json.loads(base64.urlsafe_b64decode(staged.instructions.coordinates)))


def by_streamer(
    path: Path, size: int | None = None, account: str | None = None
) -> StagingRequest[StreamerRequest]:
    """A request for a file of `size` bytes to come, or for a file to leave."""
    parameters = StreamerRequest(transfer_method="streamer", file_size=size)
    return StagingRequest(str(path), parameters, account)


async def uploaded(streamer: Streamer, path: Path, **parameters: Any) -> Staged:
    with as_alice():
        return await streamer.upload(by_streamer(path, **parameters))


async def downloaded(streamer: Streamer, path: Path) -> Staged:
    with as_alice():
        return await streamer.download(by_streamer(path))


async def client_does(operation: Any, staged: Staged, path: Path) -> None:
    """What FirecREST's client does with the coordinates; it raises nothing, whatever happens."""
    assert isinstance(staged.instructions, Coordinates)
    config = streamer_client.set_coordinates(staged.instructions.coordinates)
    config.target = str(path)
    await operation(config)


async def connected(jobs: BackgroundJobs, staged: Staged, **headers: str) -> ClientConnection:
    """A client of our own, once the job listens."""
    output = await jobs.wait_for_log("Listening on port")
    port = output.split("Listening on port ")[1].split(".")[0]
    headers.setdefault("Authorization", f"Bearer {coordinates(staged)['secret']}")
    return await connect(f"ws://127.0.0.1:{port}", additional_headers=headers, max_size=2 * CHUNK)


def record(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, **fields}).encode()


def eof(content: bytes) -> bytes:
    return record("eof", sha256_hash=hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, LIMIT])
async def test_there_and_back_with_firecrests_client(
    world: World, jobs: BackgroundJobs, streamer: Streamer, tmp_path: Path, size: int
) -> None:
    source, there, back = (tmp_path / name for name in ("source", "über 'dä' $x", "back"))
    source.write_bytes(os.urandom(size))
    staged = await uploaded(streamer, there, size=size)
    await client_does(streamer_client.client_send, staged, source)
    assert there.read_bytes() == source.read_bytes()  # when the client returns
    status, output, error = await jobs.ended()
    assert (status, error) == (0, "")
    assert f"File was successfully uploaded: {size} bytes." in output
    staged = await downloaded(streamer, there)
    await client_does(streamer_client.client_receive, staged, back)
    status, output, error = await jobs.ended()
    assert (status, error) == (0, "")
    assert f"File was successfully downloaded: {size} bytes." in output
    assert back.read_bytes() == source.read_bytes()
    assert debris(tmp_path) == []


async def test_what_the_caller_is_told(
    jobs: BackgroundJobs, streamer: Streamer, tmp_path: Path
) -> None:
    staged = await uploaded(streamer, tmp_path / "new", account="a")
    reported = coordinates(staged)
    assert set(reported) == {"ports", "ips", "secret", "operation"}
    assert reported["ports"] == [FIRST, FIRST + 9]
    assert (len(reported["ips"]), set(reported["ips"])) == (10_000, {"127.0.0.1"})
    assert reported["operation"] == "receive"  # the job's
    assert len(reported["secret"]) >= 43
    (tmp_path / "old").write_bytes(b"x")
    assert coordinates(await downloaded(streamer, tmp_path / "old"))["operation"] == "send"
    assert [job.name for job in jobs.submitted] == ["IngressFileTransfer", "OutgressFileTransfer"]


async def test_every_address_is_named_even_if_attempts_are_few(
    world: World, jobs: BackgroundJobs, tmp_path: Path
) -> None:
    few = made(world, jobs, public_ips=["a", "b"], attempts=1)
    assert coordinates(await uploaded(few, tmp_path / "new"))["ips"] == ["a", "b"]


async def test_the_secret_is_in_no_script_and_no_log(
    jobs: BackgroundJobs, streamer: Streamer, tmp_path: Path
) -> None:
    staged = await uploaded(streamer, tmp_path / "new")
    secret = coordinates(staged)["secret"]
    await jobs.wait_for_log("Listening")
    shown = [*tmp_path.rglob("*"), *Path("/proc").glob("[0-9]*/cmdline")]
    paths = [path for path in shown if path.is_file() and secret.encode() in readable(path)]
    [own] = tmp_path.glob(".transfer-*")  # which the user alone can read
    assert paths == [own]
    assert secret not in repr(staged)
    jobs.interrupt()
    await jobs.ended()
    assert not own.exists()


def readable(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # a process that has ended


async def test_the_secret_opens_once_and_nothing_else_does(
    jobs: BackgroundJobs, streamer: Streamer, tmp_path: Path
) -> None:
    staged = await uploaded(streamer, tmp_path / "new")
    with pytest.raises(InvalidStatus, match="403"):
        await connected(jobs, staged, Authorization="Bearer wrong")
    first = await connected(jobs, staged)
    with pytest.raises((ConnectionError, InvalidMessage)):  # taken by the kernel at most
        await connected(jobs, staged)
    await first.close()
    status, _, error = await jobs.ended()
    assert status == 1
    assert "The transfer failed" in error
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("sent", "code", "why"),
    [
        ([b"not json"], 1007, "there is no `init` record"),
        ([record("eof")], 1007, "there is no `init` record"),
        ([b"[]"], 1007, "there is no `init` record"),
        ([record("init")], 1007, "`file_size` is not a size"),
        ([record("init", file_size=-1)], 1007, "`file_size` is not a size"),
        ([record("init", file_size=True)], 1007, "`file_size` is not a size"),
        ([record("init", file_size="3")], 1007, "`file_size` is not a size"),
        ([record("init", file_size=LIMIT + 1)], 1009, "Inbound transfer limit exceeded"),
        ([record("init", file_size=3), b"four"], 1007, "not as long as announced"),
        ([record("init", file_size=3), "abc"], 1007, "not as long as announced"),
        ([record("init", file_size=3), b"abc", b"more"], 1007, "there is no `eof` record"),
        ([record("init", file_size=3), b"abc", eof(b"abd")], 1007, "another SHA-256"),
        ([record("init", file_size=0), record("eof")], 1007, "another SHA-256"),
        ([record("init", file_size=LIMIT), bytes(CHUNK * 5 // 4 + 1)], 1009, "too big"),
    ],
)
async def test_what_is_not_whole_never_appears(
    jobs: BackgroundJobs,
    streamer: Streamer,
    tmp_path: Path,
    sent: list[bytes | str],
    code: int,
    why: str,
) -> None:
    target = tmp_path / "new"
    client = await connected(jobs, await uploaded(streamer, target))
    with pytest.raises(ConnectionClosedError) as closed:
        await _talk(client, sent)
    assert closed.value.rcvd
    assert closed.value.rcvd.code == code
    assert why in closed.value.rcvd.reason
    status, output, error = await jobs.ended()
    assert status == 1
    assert why in error
    assert "successfully" not in output
    assert not target.exists()
    assert debris(tmp_path) == []


async def _talk(client: ClientConnection, sent: list[bytes | str]) -> None:
    for message in sent:
        await client.send(message)
    await client.recv()


@pytest.mark.parametrize("parted", ["closed", "reset", "shorter"])
async def test_an_upload_that_stops_in_the_middle(
    jobs: BackgroundJobs, streamer: Streamer, tmp_path: Path, parted: str
) -> None:
    client = await connected(jobs, await uploaded(streamer, tmp_path / "new"))
    await client.send(record("init", file_size=10))
    await client.send(b"five!")
    if parted == "shorter":  # FirecREST's client, of a file that shrinks
        await client.send(eof(b"five!"))
    if parted == "reset":
        client.transport.abort()
    await client.close()
    status, output, error = await jobs.ended()
    assert status == 1
    assert "The transfer failed" in error
    assert "successfully" not in output
    assert not (tmp_path / "new").exists()
    assert debris(tmp_path) == []


async def test_any_chunks_and_an_eof_of_text(
    jobs: BackgroundJobs, streamer: Streamer, tmp_path: Path
) -> None:
    client = await connected(jobs, await uploaded(streamer, tmp_path / "new"))
    await client.send(record("init", num_chunks=2, file_size=3))
    for message in (b"", b"a", [b"b", b"c"], eof(b"abc").decode()):
        await client.send(message)
    with pytest.raises(ConnectionClosed) as closed:
        await client.recv()
    assert closed.value.rcvd
    assert closed.value.rcvd.code == 1000
    assert (tmp_path / "new").read_bytes() == b"abc"
    assert (await jobs.ended())[0] == 0
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o666 & ~umask


async def test_a_file_that_was_not_there_when_it_was_asked(
    jobs: BackgroundJobs, streamer: Streamer, tmp_path: Path
) -> None:
    target = tmp_path / "new"
    client = await connected(jobs, await uploaded(streamer, target))
    target.write_bytes(b"somebody else's")
    with pytest.raises(ConnectionClosedError) as closed:
        await _talk(client, [record("init", file_size=3), b"abc", eof(b"abc")])
    assert closed.value.rcvd
    assert closed.value.rcvd.code == 1011
    assert "File exists" in (await jobs.ended())[2]
    assert target.read_bytes() == b"somebody else's"
    assert debris(tmp_path) == []


async def test_a_directory_that_went_out_of_the_filesystems_meanwhile(
    jobs: BackgroundJobs, streamer: Streamer, tmp_path: Path, outside: Path
) -> None:
    (tmp_path / "directory").mkdir()
    client = await connected(jobs, await uploaded(streamer, tmp_path / "directory" / "new"))
    (tmp_path / "directory").rename(outside / "directory")
    (tmp_path / "directory").symlink_to(outside / "directory")
    with pytest.raises(ConnectionClosedError, match="leads out of the filesystems"):
        await _talk(client, [record("init", file_size=3), b"abc", eof(b"abc")])
    assert "leads out of the filesystems" in (await jobs.ended())[2]
    assert list((outside / "directory").iterdir()) == []


async def test_links_that_came_before_the_job_began(
    jobs: BackgroundJobs, streamer: Streamer, tmp_path: Path, outside: Path
) -> None:
    (tmp_path / "directory").mkdir()

    def lead_out() -> None:
        (tmp_path / "directory").rmdir()
        (tmp_path / "directory").symlink_to(outside)

    jobs.before = lead_out
    await uploaded(streamer, tmp_path / "directory" / "new")
    assert "leads out of the filesystems" in (await jobs.ended())[2]
    jobs.before = lambda: (tmp_path / "new").symlink_to(outside / "new")
    await uploaded(streamer, tmp_path / "new")
    assert "File exists" in (await jobs.ended())[2]
    assert list(outside.iterdir()) == []


async def test_what_became_a_link_out_is_not_sent(
    jobs: BackgroundJobs, streamer: Streamer, tmp_path: Path, outside: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    (outside / "secret").write_bytes(b"secret")

    def lead_out() -> None:
        source.unlink()
        source.symlink_to(outside / "secret")

    jobs.before = lead_out
    await downloaded(streamer, source)
    assert "leads out of the filesystems" in (await jobs.ended())[2]


@pytest.fixture
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in none of the system's filesystems."""
    return tmp_path_factory.mktemp("outside")


@pytest.mark.parametrize("when", ["waiting", "receiving"])
async def test_a_cancelled_job_leaves_nothing(
    jobs: BackgroundJobs, streamer: Streamer, tmp_path: Path, when: str
) -> None:
    staged = await uploaded(streamer, tmp_path / "new")
    await jobs.wait_for_log("Listening")
    assert len(debris(tmp_path)) == 1
    if when == "receiving":
        client = await connected(jobs, staged)
        await client.send(record("init", file_size=3))
        await jobs.wait_for_log("Connected")
    jobs.interrupt()
    status, _, error = await jobs.ended()
    assert status != 0
    assert "The job was cancelled." in error
    assert debris(tmp_path) == []
    if when == "receiving":
        await client.wait_closed()
        assert client.close_code == 1001


async def test_nobody_comes(world: World, jobs: BackgroundJobs, tmp_path: Path) -> None:
    await uploaded(made(world, jobs, wait_timeout=1), tmp_path / "new")
    status, _, error = await jobs.ended()
    assert status == 1
    assert "Nobody connected within 1 s." in error
    assert debris(tmp_path) == []


async def test_no_port_is_free(world: World, jobs: BackgroundJobs, tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        await uploaded(made(world, jobs, port_range=[port, port]), tmp_path / "new")
        status, _, error = await jobs.ended()
    assert status == 1
    assert f"Cannot listen on 127.0.0.1 ports {port} to {port}: Address already in use" in error
    assert debris(tmp_path) == []


async def test_a_taken_port_and_other_jobs_are_passed_by(
    jobs: BackgroundJobs, streamer: Streamer, tmp_path: Path
) -> None:
    """The client shows its secret to one job after the other, until one lets it in."""
    staged = []
    for name in "abc":
        staged.append(await uploaded(streamer, tmp_path / name))
        await jobs.wait_for_log("Listening")
        (tmp_path / f"{name}.source").write_text(name)
    for name, one in reversed(list(zip("abc", staged, strict=True))):
        await client_does(streamer_client.client_send, one, tmp_path / f"{name}.source")
        assert (tmp_path / name).read_text() == name


async def test_a_download_that_the_client_gives_up(
    jobs: BackgroundJobs,
    streamer: Streamer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(os.urandom(LIMIT))
    back.write_text("already here")
    staged = await downloaded(streamer, source)
    with caplog.at_level(logging.ERROR):
        await client_does(streamer_client.client_receive, staged, back)
    assert "already exists" in caplog.text
    status, output, error = await jobs.ended()
    assert status == 1
    assert "The transfer failed" in error
    assert "successfully" not in output


@pytest.mark.parametrize("code", [1000, 1011, None])
async def test_a_download_counts_when_the_client_has_confirmed_it(
    jobs: BackgroundJobs, streamer: Streamer, tmp_path: Path, code: int | None
) -> None:
    (tmp_path / "source").write_bytes(b"content")
    client = await connected(jobs, await downloaded(streamer, tmp_path / "source"))
    assert json.loads(await client.recv()) == {"type": "init", "num_chunks": 1, "file_size": 7}
    assert await client.recv() == b"content"
    assert await client.recv() == eof(b"content").decode().replace(" ", "")
    if code:
        await client.close(code)
    else:
        client.transport.abort()
    status, output, _ = await jobs.ended()
    assert (status == 0, "successfully" in output) == (code == 1000, code == 1000)


async def test_a_file_that_changes_while_it_is_sent(
    jobs: BackgroundJobs, streamer: Streamer, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(LIMIT))
    client = await connected(jobs, await downloaded(streamer, source))
    await client.recv()
    os.truncate(source, LIMIT - 1)
    with pytest.raises(ConnectionClosedError) as closed:
        await _receive_data(client)
    assert closed.value.rcvd
    assert closed.value.rcvd.code == 1011
    assert "while it was sent" in (await jobs.ended())[2]


async def _receive_data(client: ClientConnection) -> None:
    for _ in range(5):
        assert isinstance(await client.recv(), bytes)


async def test_what_is_refused_before_a_job_is_submitted(
    jobs: BackgroundJobs, streamer: Streamer, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.write_bytes(b"")
    (tmp_path / "dangling").symlink_to("nowhere")
    for path in (there, tmp_path, tmp_path / "dangling"):
        with pytest.raises(TargetExists, match=f"Target file '{path}' already exists."):
            await uploaded(streamer, path)
    with pytest.raises(FileError) as missing:
        await uploaded(streamer, tmp_path / "no" / "directory")
    assert missing.value.errno == errno.ENOENT
    with pytest.raises(TooLarge, match=str(LIMIT)):
        await uploaded(streamer, tmp_path / "new", size=LIMIT + 1)
    with pytest.raises(FileError) as missing:
        await downloaded(streamer, tmp_path / "new")
    assert missing.value.errno == errno.ENOENT
    assert jobs.submitted == []


@pytest.mark.parametrize(
    "invalid",
    [
        {"port_range": [5675, 5665]},
        {"port_range": [0, 5665]},
        {"port_range": [5665, 70000]},
        {"port_range": [5665]},
        {"public_ips": []},
        {"attempts": 0},
        {"wait_timeout": 0},
        {"inbound_transfer_limit": -1},
        {"publicIps": ["x"]},
    ],
)
def test_options_that_are_wrong(invalid: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Streamer.Options.model_validate(invalid)

"""The staging method `wormhole`: real jobs, the real `wormhole`, a real mailbox server and transit relay."""

import asyncio
import errno
import os
import re
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from passerelle.runtime.errors import InvalidArgument
from passerelle.storage.errors import FileError, TargetExists
from passerelle.storage.jobs.port import TransferJobs
from passerelle.storage.staging.port import Staged, StagingRequest
from passerelle.storage.staging.wormhole.method import Wormhole, new_code
from passerelle.storage.staging.wormhole.wire import (
    SenderWaits,
    WormholeCode,
    WormholeRequest,
    WormholeUploadRequest,
)
from tests.mailbox import Mailbox
from tests.unit.storage.background_jobs import BackgroundJobs, PrivateDirectory
from tests.unit.storage.world import World, as_alice, debris

SIZES = (0, 1, 3 << 20)


@pytest.fixture
async def jobs() -> AsyncIterator[BackgroundJobs]:
    background_jobs = BackgroundJobs()
    yield background_jobs
    await background_jobs.stop()


@pytest.fixture
def wormhole(world: World, jobs: BackgroundJobs, mailbox: Mailbox) -> Wormhole:
    return made(world, jobs, mailbox)


def made(world: World, jobs: BackgroundJobs, mailbox: Mailbox, **options: Any) -> Wormhole:
    here: dict[str, Any] = {
        "python": sys.executable,
        "relay_url": mailbox.relay_url,
        "transit_helper": mailbox.transit_helper,
        "time_limit": 60,
    }
    chosen = Wormhole.Options.model_validate(here | options)
    submitted = TransferJobs(world.system, jobs, PrivateDirectory(), "PASSERELLE_JOB_ID")
    return Wormhole(world.system, world.files, submitted, chosen)


@asynccontextmanager
async def client(mailbox: Mailbox, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The caller's `wormhole` with these arguments."""
    process = await asyncio.create_subprocess_exec(
        "wormhole",
        *arguments,
        env=mailbox.environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def code_of(process: asyncio.subprocess.Process) -> str:
    """The code that `wormhole send` prints."""
    assert process.stdout
    async with asyncio.timeout(30):
        while line := await process.stdout.readline():
            if b"Wormhole code is:" in line:
                return line.decode().split(":")[1].strip()
    raise AssertionError("it printed no code")


async def uploaded(wormhole: Wormhole, path: Path, code: str) -> Staged:
    parameters = WormholeUploadRequest(transfer_method="wormhole", wormhole_code=code)
    with as_alice():
        return await wormhole.upload(StagingRequest(str(path), parameters))


async def downloaded(wormhole: Wormhole, path: Path) -> str:
    parameters = WormholeRequest(transfer_method="wormhole")
    with as_alice():
        staged = await wormhole.download(StagingRequest(str(path), parameters))
    assert isinstance(staged.instructions, WormholeCode)
    return staged.instructions.wormhole_code


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_comes(
    jobs: BackgroundJobs, wormhole: Wormhole, mailbox: Mailbox, tmp_path: Path, size: int
) -> None:
    source, target = tmp_path / "source", tmp_path / "-über 'dä' $x"
    source.write_bytes(os.urandom(size))
    async with client(mailbox, "send", "--code-length", "4", str(source)) as sender:
        code = await code_of(sender)
        staged = await uploaded(wormhole, target, code)
        assert await sender.wait() == 0
    status, output, error = await jobs.ended()
    assert (status, error) == (0, "")
    assert f"File was successfully uploaded: {size} bytes." in output
    assert target.read_bytes() == source.read_bytes()
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask
    assert debris(tmp_path) == []
    assert staged.instructions == SenderWaits()
    assert [path for path in tmp_path.iterdir() if path.is_file() and mentions(path, code)] == []


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_leaves(
    jobs: BackgroundJobs, wormhole: Wormhole, mailbox: Mailbox, tmp_path: Path, size: int
) -> None:
    source, target = tmp_path / "-über 'dä' $x", tmp_path / "target"
    source.write_bytes(os.urandom(size))
    code = await downloaded(wormhole, source)
    async with client(mailbox, "receive", "--accept-file", "-o", str(target), code) as receiver:
        assert await receiver.wait() == 0
    status, output, error = await jobs.ended()
    assert (status, error) == (0, "")
    assert f"File was successfully downloaded: {size} bytes." in output
    assert target.read_bytes() == source.read_bytes()


def mentions(path: Path, code: str) -> bool:
    try:
        return code.encode() in path.read_bytes()
    except OSError:
        return False  # a process that has ended


async def test_the_code_is_in_no_script_no_command_and_no_log(
    jobs: BackgroundJobs, wormhole: Wormhole, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(b"content")
    code = await downloaded(wormhole, tmp_path / "source")
    await jobs.wait_for_log("Waiting for the receiver")
    while not (programs := [path for path in cmdlines() if mentions(path, "wormhole(arguments")]):
        await asyncio.sleep(0.02)
    shown = [path for path in tmp_path.rglob("*") if path.is_file()]
    environments = [path.with_name("environ") for path in programs]
    [own] = tmp_path.glob(".transfer-*")  # which the user alone can read
    assert [path for path in (*shown, *cmdlines(), *environments) if mentions(path, code)] == [own]
    jobs.interrupt()
    await jobs.ended()
    assert not own.exists()


def cmdlines() -> list[Path]:
    return list(Path("/proc").glob("[0-9]*/cmdline"))


async def test_a_wrong_code_tells_why_without_the_code(
    jobs: BackgroundJobs, wormhole: Wormhole, mailbox: Mailbox, tmp_path: Path
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"content")
    async with client(mailbox, "send", str(source)) as sender:
        invalid = (await code_of(sender)).split("-")[0] + "-wrong-words"
        await uploaded(wormhole, target, invalid)
        assert await sender.wait() == 1
    status, output, error = await jobs.ended()
    assert status == 1
    assert "The transfer failed" in error
    assert "confirmation failed" in error
    assert "wrong-words" not in error + output
    assert not target.exists()
    assert debris(tmp_path) == []


@pytest.mark.parametrize("what", ["text", "directory"])
async def test_only_a_file_may_come(
    jobs: BackgroundJobs, wormhole: Wormhole, mailbox: Mailbox, tmp_path: Path, what: str
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "file").write_bytes(b"content")
    sent = ("--text", "no file") if what == "text" else (str(source),)
    async with client(mailbox, "send", *sent) as sender:
        await uploaded(wormhole, target, await code_of(sender))
        status, _, error = await jobs.ended()
    assert status == 1
    assert {"text": "what came is no file", "directory": "it is not a regular file"}[what] in error
    assert not target.exists()
    assert debris(tmp_path) == []


async def test_a_file_that_was_not_there_when_it_was_asked(
    jobs: BackgroundJobs, wormhole: Wormhole, mailbox: Mailbox, tmp_path: Path
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"content")
    async with client(mailbox, "send", str(source)) as sender:
        code = await code_of(sender)
        await uploaded(wormhole, target, code)
        await jobs.wait_for_log("Waiting for the file")
        target.write_bytes(b"somebody else's")
        status, _, error = await jobs.ended()
    assert status == 1
    assert "File exists" in error
    assert target.read_bytes() == b"somebody else's"
    assert debris(tmp_path) == []


async def test_links_that_came_before_the_job_began(
    jobs: BackgroundJobs, wormhole: Wormhole, tmp_path: Path, outside: Path
) -> None:
    source, directory = tmp_path / "source", tmp_path / "directory"
    source.write_bytes(b"content")
    directory.mkdir()

    def lead_out() -> None:
        directory.rmdir()
        directory.symlink_to(outside)
        source.unlink()
        source.symlink_to("/etc/passwd")

    jobs.before = lead_out
    await uploaded(wormhole, directory / "new", new_code())
    assert "leads out of the filesystems" in (await jobs.ended())[2]
    assert list(outside.iterdir()) == []
    source.unlink()
    source.write_bytes(b"content")
    directory.unlink()
    directory.mkdir()
    await downloaded(wormhole, source)
    assert "leads out of the filesystems" in (await jobs.ended())[2]


async def test_a_directory_that_went_out_of_the_filesystems_meanwhile(
    jobs: BackgroundJobs, wormhole: Wormhole, mailbox: Mailbox, tmp_path: Path, outside: Path
) -> None:
    source, directory = tmp_path / "source", tmp_path / "directory"
    source.write_bytes(b"content")
    directory.mkdir()
    async with client(mailbox, "send", str(source)) as sender:
        code = await code_of(sender)
        await uploaded(wormhole, directory / "new", code)
        await jobs.wait_for_log("Waiting for the file")
        directory.rename(outside / "directory")
        directory.symlink_to(outside / "directory")
        status, _, error = await jobs.ended()
    assert status == 1
    assert "leads out of the filesystems" in error
    assert list((outside / "directory").iterdir()) == []


@pytest.fixture
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in none of the system's filesystems."""
    return tmp_path_factory.mktemp("outside")


async def test_a_cancelled_job_leaves_nothing(
    jobs: BackgroundJobs, wormhole: Wormhole, tmp_path: Path
) -> None:
    await uploaded(wormhole, tmp_path / "target", new_code())
    await jobs.wait_for_log("Waiting for the file")
    assert len(debris(tmp_path)) == 1
    jobs.interrupt()
    status, _, error = await jobs.ended()
    assert status != 0
    assert "The job was cancelled." in error
    assert debris(tmp_path) == []


async def test_nobody_comes(
    world: World, jobs: BackgroundJobs, mailbox: Mailbox, tmp_path: Path
) -> None:
    await uploaded(made(world, jobs, mailbox, time_limit=1), tmp_path / "target", new_code())
    status, _, error = await jobs.ended()
    assert status == 1
    assert "The transfer took too long." in error
    assert debris(tmp_path) == []


async def test_no_mailbox_server(
    world: World, jobs: BackgroundJobs, mailbox: Mailbox, tmp_path: Path
) -> None:
    lost = made(world, jobs, mailbox, relay_url="ws://127.0.0.1:1/v1")
    await uploaded(lost, tmp_path / "target", new_code())
    status, _, error = await jobs.ended()
    assert status == 1
    assert "ws://127.0.0.1:1/v1" in error


async def test_no_python(
    world: World, jobs: BackgroundJobs, mailbox: Mailbox, tmp_path: Path
) -> None:
    without = made(world, jobs, mailbox, python="/no/such/python")
    await uploaded(without, tmp_path / "target", new_code())
    status, _, error = await jobs.ended()
    assert status == 1
    assert "/no/such/python: No such file or directory" in error


@pytest.mark.parametrize(
    "code",
    [
        "",
        "7",
        "7-",
        "-7-word",
        "--help",
        "0-word",
        "seven-word",
        "7-word word",
        "7-word\n",
        "7-$(id)",
        "7--word",
        "7-wörd",
        "7-" + "w" * 200,
    ],
)
async def test_codes_that_are_none(
    jobs: BackgroundJobs, wormhole: Wormhole, tmp_path: Path, code: str
) -> None:
    with pytest.raises(InvalidArgument, match="wormhole_code must be") as caught:
        await uploaded(wormhole, tmp_path / "target", code)
    assert [field.name for field in caught.value.fields] == ["wormhole_code"]
    assert len(code) < 3 or code not in caught.value.detail
    assert jobs.submitted == []


def test_our_codes_are_codes_and_differ() -> None:
    codes = [new_code() for _ in range(1000)]
    assert len(set(codes)) == 1000
    assert all(re.fullmatch(r"[1-9][0-9]{3,5}(-[a-z]{5}){3}", code) for code in codes)


async def test_what_is_refused_before_a_job_is_submitted(
    jobs: BackgroundJobs, wormhole: Wormhole, tmp_path: Path
) -> None:
    (tmp_path / "there").write_bytes(b"")
    with pytest.raises(TargetExists, match="already exists"):
        await uploaded(wormhole, tmp_path / "there", new_code())
    with pytest.raises(FileError) as missing:
        await downloaded(wormhole, tmp_path / "gone")
    assert missing.value.errno == errno.ENOENT
    assert jobs.submitted == []


@pytest.mark.parametrize("invalid", [{"python": ""}, {"time_limit": 0}, {"relay": "x"}])
def test_options_that_are_wrong(invalid: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Wormhole.Options.model_validate(invalid)

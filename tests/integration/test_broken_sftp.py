"""Where a real OpenSSH gives an account no SFTP: content goes another way, and who operates is told once."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from passerelle.runtime import caller
from passerelle.runtime.caller import Caller
from passerelle.runtime.errors import BackendUnavailable, ConnectionFailed
from passerelle.runtime.ssh.pool import SshPool
from passerelle.storage.config import StorageSection
from passerelle.storage.main import SystemParts
from passerelle.storage.values import WriteConditions
from tests.cluster import Cluster
from tests.integration.login_shells import (
    READING,
    Certified,
    Login,
    login_with,
    serving,
    system_at,
)
from tests.unit.storage.bash_jobs import BashJobs
from tests.unit.storage.world import pieces, system_parts

SERVER = "/usr/lib/openssh/sftp-server"
# For SFTP alone, as its command has no other way to be told from ours.
SLOW = "case $BASH_EXECUTION_STRING in *sftp-server*) sleep 2 ;; esac"
LATER = "case $BASH_EXECUTION_STRING in *sftp-server*) (sleep 0.5; echo later) & ;; esac"
LARGE = os.urandom(3_000_017)  # more than goes in one exchange with a helper


@dataclass(frozen=True)
class Way:
    """How SFTP is broken: by sshd (options of `serving`) or by a start-up file; and how that is told."""

    sshd: dict[str, Any]
    message: str
    start_up: str = ""


WAYS = {
    "printing": Way({"sftp": SERVER}, "a start-up file of the login shell prints", "echo Welcome"),
    "off": Way({"sftp": None}, "starts no Subsystem sftp"),
    "absent": Way({"sftp": "/nowhere/sftp-server"}, "it ends at once"),  # as in a bare chroot
    "forced": Way({"forced": True}, "a forced command runs instead"),
}


@asynccontextmanager
async def parts_for(
    cluster: Cluster, login: Login, *, helper: bool = True
) -> AsyncIterator[tuple[SystemParts, SshPool]]:
    system = system_at(cluster)
    with caller.bind(Caller(login.name, "token")):
        async with SshPool({"lab": system}, Certified(cluster, login.name)).sweeping() as pool:
            yield system_parts(pool, system, StorageSection(remote_helper=helper), BashJobs()), pool


@pytest.mark.parametrize("helper", [True, False], ids=["helper", "commands"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_content_goes_another_way(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, way: Way, helper: bool
) -> None:
    login = login_with("bash")
    with serving(cluster, **way.sshd) as sshd:
        login.start_with(way.start_up + "\n")
        async with parts_for(sshd, login, helper=helper) as (parts, _):
            path = login.home / "it's large"
            for _ in range(2):
                await parts.files.write(str(path), pieces(LARGE))
                assert path.read_bytes() == LARGE
                assert await _read(parts, path, 7, 500_000) == LARGE[7:500_007]
            upload = await parts.uploads.create(str(login.home / "up"))
            there = str(login.home / "up")
            await parts.uploads.write(there, upload, 0, pieces(LARGE[:400_000]))
            await parts.uploads.write(there, upload, 399_999, pieces(LARGE[399_999:]))
            await parts.uploads.complete(there, upload, len(LARGE), WriteConditions())
            assert Path(there).read_bytes() == LARGE
            assert any(way.message in note for note in await parts.files.notes())
    messages = [
        record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
    ]
    assert len(messages) == 1
    assert "SFTP cannot be used" in messages[0]
    assert way.message in messages[0]


@pytest.mark.parametrize("shell", READING)
@pytest.mark.parametrize(
    "noise", ["printf x", "echo", "printf 'a\\n%.0s' 1 2 3; sh -c 'echo b >&2'"]
)
async def test_whatever_shell_prints_whatever(cluster: Cluster, shell: str, noise: str) -> None:
    login = login_with(shell)
    login.start_with(noise + "\n")
    with serving(cluster, sftp=SERVER) as sshd:
        async with parts_for(sshd, login) as (parts, _):
            await parts.files.write(str(login.home / "file"), pieces(b"content"))
            assert await _read(parts, login.home / "file", 0, 7) == b"content"
            assert any("SFTP cannot be used" in note for note in await parts.files.notes())


async def test_what_is_printed_later_breaks_one_request_at_most(cluster: Cluster) -> None:
    login = login_with("bash")
    with serving(cluster, sftp=SERVER) as sshd:
        login.start_with(LATER + "\n")
        async with parts_for(sshd, login) as (parts, pool):
            await (await pool.connection("lab")).sftp()
            path = login.home / "file"
            with pytest.raises(ConnectionFailed, match="SFTP session"):
                await _write_for_ever(parts, path)
            await parts.files.write(str(path), pieces(LARGE))
            assert path.read_bytes() == LARGE


async def test_sftp_that_is_slow_to_begin_is_not_absent(cluster: Cluster) -> None:
    login = login_with("bash")
    with serving(cluster, sftp=SERVER) as sshd:
        login.start_with(SLOW + "\n")
        async with parts_for(sshd, login) as (parts, pool):
            connection = await pool.connection("lab")
            connection._start_limit = 0.5
            with pytest.raises(BackendUnavailable, match="not begun yet") as caught:
                await parts.files.write(str(login.home / "file"), pieces(LARGE))
            assert caught.value.retry_after
            connection._start_limit = 30
            await connection.sftp()


async def _write_for_ever(parts: SystemParts, path: Path) -> None:
    while True:
        await parts.files.write(str(path), pieces(LARGE))


async def _read(parts: SystemParts, path: Path, offset: int, length: int) -> bytes:
    async with parts.files.opened(str(path)) as file:
        return b"".join([chunk async for chunk in file.chunks(offset, length)])

"""The asynchronous pyfirecrest, unchanged: the main job, and many calls at once."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from firecrest.v2 import AsyncFirecrest

from tests.e2e.target import Target


@pytest.fixture
async def asynchronous(target: Target) -> AsyncIterator[AsyncFirecrest]:
    client = AsyncFirecrest(firecrest_url=target.base_url, authorization=target)
    yield client
    await client.close_session()


async def test_stage_submit_follow_and_read(
    target: Target, asynchronous: AsyncFirecrest, directory: str, tmp_path: Path
) -> None:
    system = target.system
    (tmp_path / "input").write_text("41\n")
    await asynchronous.upload(system, tmp_path / "input", directory, "input")
    script = '#!/bin/bash\necho "$(($(cat input) + 1))" > output\n'
    job = await asynchronous.submit(system, directory, script_str=script, account=target.account)
    finished = await asynchronous.wait_for_job(system, str(job["jobId"]), timeout=60)
    assert finished[0]["status"]["state"] == "COMPLETED"
    await asynchronous.download(system, f"{directory}/output", tmp_path / "output")
    assert (tmp_path / "output").read_text() == "42\n"


async def test_many_calls_at_once(
    target: Target, asynchronous: AsyncFirecrest, directory: str
) -> None:
    """More calls of one user than sshd has sessions for: they wait their turn, none fails."""
    stats = [asynchronous.stat(target.system, directory) for _ in range(32)]
    assert {reply["mode"] & 0o170000 for reply in await asyncio.gather(*stats)} == {0o040000}


async def test_what_files_are(
    target: Target, asynchronous: AsyncFirecrest, directory: str, tmp_path: Path
) -> None:
    system, path = target.system, f"{directory}/input"
    (tmp_path / "input").write_text("41\n")
    await asynchronous.upload(system, tmp_path / "input", directory, "input")
    changed = await asynchronous.chmod(system, path, "600")
    given = await asynchronous.chown(system, path, target.user, "")
    assert (changed["permissions"], given["user"]) == ("rw-------", target.user)
    await asynchronous.symlink(system, path, f"{directory}/link")
    checksum, kind = await asyncio.gather(
        asynchronous.checksum(system, f"{directory}/link"), asynchronous.file_type(system, path)
    )
    assert checksum["checksum"] == hashlib.sha256(b"41\n").hexdigest()
    assert kind == "ASCII text"


async def test_status(target: Target, asynchronous: AsyncFirecrest) -> None:
    systems, nodes, partitions, userinfo = await asyncio.gather(
        asynchronous.systems(),
        asynchronous.nodes(target.system),
        asynchronous.partitions(target.system),
        asynchronous.userinfo(target.system),
    )
    assert target.system in [system["name"] for system in systems]
    assert nodes
    assert target.partition in [partition["name"] for partition in partitions]
    assert userinfo["user"]["name"] == target.user

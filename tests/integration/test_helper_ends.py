"""On a real OpenSSH: a helper ends when its channel is gone, whatever its threads are doing."""

import asyncio
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from passerelle.runtime import caller, shipping
from passerelle.runtime.config.site import System
from passerelle.runtime.errors import ConnectionFailed
from passerelle.runtime.ssh.connection import Connection
from passerelle.runtime.ssh.pool import SshPool
from passerelle.storage.access import helper as helper_module
from passerelle.storage.access.helper import MODULES, RemoteHelper
from passerelle.storage.remote.helper.conversation import MAX_THREADS
from tests.cluster import Cluster
from tests.cluster_shell import ClusterCertificates

_GRACE = "GRACE = 30"


@pytest.fixture
async def connection(cluster: Cluster) -> AsyncIterator[Connection]:
    line = cluster.known_hosts.read_text().split(" ", 1)[1].strip()
    ssh = {"host": cluster.host, "port": cluster.ssh_port, "host_keys": [line]}
    system = System.model_validate({"name": "lab", "ssh": ssh, "scheduler": {"type": "slurm"}})
    with caller.bind(caller.Caller("alice", "")):
        async with SshPool({"lab": system}, ClusterCertificates(cluster)).sweeping() as pool:
            yield await pool.connection("lab")


@pytest.fixture
async def helper(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> RemoteHelper:
    """A helper that also has the operation `hang`, and gives what runs a second to clean up."""
    names = [f"passerelle.storage.remote.{name}" for name in MODULES]
    source = shipping.program(*names[:-1], "tests.unit.storage.hanging", names[-1])
    assert _GRACE in source
    source = source.replace(_GRACE, "GRACE = 1")
    monkeypatch.setattr(helper_module, "SOURCE", source)
    monkeypatch.setattr(helper_module, "_REQUEST", helper_module.python_request(source))
    return await RemoteHelper.start(connection)


@pytest.fixture
def pipe() -> Iterator[Path]:
    """A file that hangs whoever opens it."""
    directory = Path(tempfile.mkdtemp(prefix="hanging-"))
    directory.chmod(0o755)
    os.mkfifo(directory / "pipe", 0o600)
    shutil.chown(directory / "pipe", "alice")
    yield directory / "pipe"
    os.close(os.open(directory / "pipe", os.O_RDWR))  # whoever still hangs may go on
    shutil.rmtree(directory)


async def process_of(helper: RemoteHelper) -> int:
    arguments = {"path": "/proc/self", "dereference": False, "columns": [("pid", "target")]}
    return int(json.loads(await helper.call("stat", arguments))["pid"])


def login_of(process: int) -> int:
    """The process of sshd whose child it is."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
    return int(fields[1])


async def ended(process: int) -> None:
    """Wait until it has ended; fails after ten seconds."""
    async with asyncio.timeout(10):
        while Path(f"/proc/{process}").exists():
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("hanging", [0, 1, MAX_THREADS - 1, MAX_THREADS, MAX_THREADS + 10])
async def test_a_helper_ends_when_its_channel_is_gone(
    helper: RemoteHelper, pipe: Path, hanging: int
) -> None:
    process = await process_of(helper)
    calls = [asyncio.create_task(helper.call("hang", {"path": str(pipe)})) for _ in range(hanging)]
    await hung(process, min(hanging, MAX_THREADS))
    os.kill(login_of(process), signal.SIGKILL)
    await ended(process)
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(result) for result in results} <= {ConnectionFailed}


async def hung(process: int, threads: int) -> None:
    """Wait until so many of its threads open a file that has no writer."""
    async with asyncio.timeout(10):
        while (
            sum(_opens_a_pipe(task) for task in Path(f"/proc/{process}/task").iterdir()) < threads
        ):
            await asyncio.sleep(0.05)


def _opens_a_pipe(task: Path) -> bool:
    return (task / "wchan").read_text() == "wait_for_partner"

"""Against a real OpenSSH: no program outlives its request, also when its input has ended.

The SSH server of the unit tests gives no signals on once the input has ended; OpenSSH does.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from passerelle.runtime import caller
from passerelle.runtime.caller import Caller
from passerelle.runtime.command import Command
from passerelle.runtime.config.site import System
from passerelle.runtime.errors import DeadlineExceeded
from passerelle.runtime.ssh.credential import SshCredential
from passerelle.runtime.ssh.pool import SshPool, SystemShell
from tests.cluster import Cluster

USER = "alice"


class Certified:
    """Certificates of the cluster's own authority, for alice."""

    def __init__(self, cluster: Cluster) -> None:
        self._authority = asyncssh.read_private_key(cluster.ca_key)

    async def ssh_credential(self, system: str, public_key: str) -> SshCredential:
        """As auth would make it."""
        key = asyncssh.import_public_key(public_key)
        made = self._authority.generate_user_certificate(key, "test", principals=[USER])
        return SshCredential(USER, made.export_certificate().decode(), "", None)


@pytest.fixture
async def shell(cluster: Cluster) -> AsyncIterator[SystemShell]:
    """A shell on the cluster whose commands may take half a second."""
    host_key = cluster.known_hosts.read_text().split(" ", 1)[1].strip()
    ssh = {"host": cluster.host, "port": cluster.ssh_port, "host_keys": [host_key]}
    system = System.model_validate({"name": "lab", "ssh": ssh, "scheduler": {"type": "slurm"}})
    with caller.bind(Caller(USER, "token")):
        async with SshPool({"lab": system}, Certified(cluster)).sweeping() as pool:
            yield SystemShell(pool, system, timeout=0.5)


@pytest.mark.parametrize("trap", [":", "trap '' TERM"])
async def test_a_command_that_takes_too_long_is_ended_with_its_children(
    shell: SystemShell, trap: str
) -> None:
    name = f"outlives-{uuid.uuid4().hex}"
    script = f"{trap}; sh -c 'sleep 60; : {name}' & wait; sleep 60"
    with pytest.raises(DeadlineExceeded):
        await shell.run(Command(("sh", "-c", script), str))
    assert await _gone(name)


@pytest.mark.parametrize("away", ["setsid", "setsid -w", "timeout 60", "timeout 60 setsid -w"])
async def test_children_that_left_the_process_group_are_ended(
    shell: SystemShell, away: str
) -> None:
    name = f"outlives-{uuid.uuid4().hex}"
    script = f"{away} sh -c 'trap \"\" TERM; sleep 60; : {name}' & wait; sleep 60"
    with pytest.raises(DeadlineExceeded):
        await shell.run(Command(("sh", "-c", script), str))
    assert await _gone(name)


async def test_a_cancelled_command_is_ended(shell: SystemShell) -> None:
    name = f"outlives-{uuid.uuid4().hex}"
    script = f"trap '' TERM; sleep 60; : {name}"
    task = asyncio.create_task(shell.run(Command(("sh", "-c", script), str)))
    while not _runs(name):
        await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await _gone(name)


async def test_what_succeeds_while_it_is_ended_counts(shell: SystemShell) -> None:
    script = "trap 'echo 4242; exit 0' TERM; sleep 60 & wait"
    assert await shell.run(Command(("sh", "-c", script), str)) == "4242\n"


def _runs(name: str) -> bool:
    return any(name in _command(process) for process in Path("/proc").glob("[0-9]*"))


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:  # it has just ended
        return ""


async def _gone(name: str) -> bool:
    """Whether it is gone within 5 s: a cancelled call does not wait for the end."""
    for _ in range(100):
        if not _runs(name):
            return True
        await asyncio.sleep(0.05)
    return False

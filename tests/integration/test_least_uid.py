"""Accounts of the system itself, told by their uid there, are not used (`ssh.least_uid`)."""

import pwd
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from passerelle.runtime import caller
from passerelle.runtime.caller import Caller
from passerelle.runtime.config.site import System
from passerelle.runtime.errors import Forbidden
from passerelle.runtime.ssh.connection import Connection
from passerelle.runtime.ssh.pool import SshPool
from tests.cluster import Cluster
from tests.cluster_shell import ClusterCertificates
from tests.cluster_sshd import another_sshd

BY_SFTP_ALONE = ("ForceCommand internal-sftp",)


@asynccontextmanager
async def connected(cluster: Cluster, port: int, least: int) -> AsyncIterator[Connection]:
    """Alice's connection; an account with a uid below `least` is refused."""
    line = cluster.known_hosts.read_text().split(" ", 1)[1].strip()
    ssh = {"host": cluster.host, "port": port, "host_keys": [line], "least_uid": least}
    system = System.model_validate({"name": "lab", "ssh": ssh, "scheduler": {"type": "slurm"}})
    with caller.bind(Caller("alice", "token")):
        async with SshPool({"lab": system}, ClusterCertificates(cluster)).sweeping() as pool:
            yield await pool.connection("lab")


@pytest.mark.parametrize("settings", [(), BY_SFTP_ALONE])
async def test_an_account_below_the_least_is_refused(
    cluster: Cluster, settings: tuple[str, ...]
) -> None:
    own = pwd.getpwnam("alice").pw_uid
    with another_sshd(cluster, *settings) as port:
        async with connected(cluster, port, own) as connection:
            assert connection.open
        with pytest.raises(Forbidden, match=f"has the uid {own} there; below {own + 1} accounts"):
            async with connected(cluster, port, own + 1):
                pass


async def test_an_account_that_does_not_tell_its_uid_is_refused(cluster: Cluster) -> None:
    """One that has SFTP alone, in a directory of its own without /proc."""
    settings = (*BY_SFTP_ALONE, "ChrootDirectory /run/sshd")
    with another_sshd(cluster, *settings) as port:
        with pytest.raises(Forbidden, match="does not tell its uid"):
            async with connected(cluster, port, 1):
                pass
        async with connected(cluster, port, 0) as connection:
            assert await (await connection.sftp()).realpath(".") == "/"

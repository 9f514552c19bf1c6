"""A `Shell` on the real cluster, over the pool that the services use, with certificates of the cluster's user CA."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncssh

from passerelle.runtime import caller
from passerelle.runtime.config.site import System
from passerelle.runtime.ssh.credential import SshCredential
from passerelle.runtime.ssh.pool import SshPool, SystemShell
from tests.cluster import Cluster


class ClusterCertificates:
    """Certifies the pool's key for the caller, as `auth` does: a fake at the port of the SSH pool."""

    def __init__(self, cluster: Cluster) -> None:
        self._ca = asyncssh.read_private_key(cluster.ca_key)

    async def ssh_credential(self, system: str, public_key: str) -> SshCredential:
        """A certificate for the current caller."""
        user = caller.current().username
        key = asyncssh.import_public_key(public_key)
        made = self._ca.generate_user_certificate(key, user, principals=[user])
        return SshCredential(user, made.export_certificate().decode(), "", None)


@asynccontextmanager
async def cluster_shell(cluster: Cluster, *, seconds: float = 20) -> AsyncIterator[SystemShell]:
    """The shell of the cluster's login node; a command may take so many `seconds`."""
    line = cluster.known_hosts.read_text().split(" ", 1)[1].strip()
    ssh = {"host": cluster.host, "port": cluster.ssh_port, "host_keys": [line]}
    system = System.model_validate({"name": "lab", "ssh": ssh, "scheduler": {"type": "slurm"}})
    async with SshPool({"lab": system}, ClusterCertificates(cluster)).sweeping() as pool:
        yield SystemShell(pool, system, timeout=seconds)

"""The floor: bare asyncssh on the same server, with connections that are already open."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import asyncssh

from tests.cluster import Cluster

_SESSIONS = 4  # at once on one connection: a busy sshd counts those that have just ended, too, and allows 10


@asynccontextmanager
async def connected(
    *, host: str, port: int, user: str, key: str, known_hosts: str
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """An open connection with the cipher that the gateway uses too; `key` is a private key file with a certificate."""
    async with asyncssh.connect(
        host,
        port,
        username=user,
        client_keys=[key],
        known_hosts=known_hosts,
        config=None,
        agent_path=None,
        encryption_algs=["aes128-gcm@openssh.com"],
    ) as connection:
        yield connection


def connected_to(
    cluster: Cluster, user: str = "alice"
) -> AbstractAsyncContextManager[asyncssh.SSHClientConnection]:
    """An open connection to a deploy/cluster."""
    return connected(
        host=cluster.host,
        port=cluster.ssh_port,
        user=user,
        key=str(cluster.directory / "ssh" / user),
        known_hosts=str(cluster.known_hosts),
    )


class Login:
    """A user's open connection with one SFTP session."""

    def __init__(self, connection: asyncssh.SSHClientConnection, sftp: asyncssh.SFTPClient) -> None:
        self.sftp = sftp
        self._connection = connection
        self._sessions = asyncio.Semaphore(_SESSIONS)

    async def run(self, command: str, stdin: str = "") -> None:
        """Run a command; raises asyncssh.ProcessError when it fails."""
        async with self._sessions:
            await self._connection.run(command, input=stdin, check=True)


@asynccontextmanager
async def logins(cluster: Cluster, users: Sequence[str]) -> AsyncIterator[dict[str, Login]]:
    """One for each user."""
    async with AsyncExitStack() as stack:
        opened = {}
        for user in users:
            connection = await stack.enter_async_context(connected_to(cluster, user))
            sftp = await stack.enter_async_context(connection.start_sftp_client())
            opened[user] = Login(connection, sftp)
        yield opened

"""A pool of SSH connections: one for each user of a system, opened when needed, shared, and closed when idle."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

import asyncssh

from passerelle.runtime import background, caller
from passerelle.runtime.command import Command, T
from passerelle.runtime.computation import computed
from passerelle.runtime.config.site import System
from passerelle.runtime.errors import ConnectionFailed, Overloaded, Unauthenticated
from passerelle.runtime.flight import Flights
from passerelle.runtime.metrics import SSH_CONNECTIONS_LIMIT, SSH_CONNECTS
from passerelle.runtime.ssh import lean_packets
from passerelle.runtime.ssh.accounts import require_user
from passerelle.runtime.ssh.connection import Connection
from passerelle.runtime.ssh.credential import SshCredential
from passerelle.runtime.ssh.route import LoginRefused, Outcome, connect

_EXPIRY_MARGIN = 5.0  # seconds before a credential's end at which its connection takes no new calls


class CredentialSource(Protocol):
    """Gets credentials for the current caller."""

    async def ssh_credential(self, system: str, public_key: str) -> SshCredential:
        """A credential for `system`; `public_key` is in OpenSSH's one-line format."""
        ...


class SshPool:
    """Connections of all users to all systems of one service."""

    def __init__(
        self,
        systems: Mapping[str, System],
        credentials: CredentialSource,
        *,
        sweep_seconds: float = 5.0,
    ) -> None:
        lean_packets.install()
        self._systems = systems
        for system in systems.values():
            SSH_CONNECTIONS_LIMIT.labels(system.name).set(system.ssh.max_connections)
            for outcome in (
                Outcome
            ):  # Prometheus sees no increase in a counter that appears with its first event
                SSH_CONNECTS.labels(system.name, outcome)
        self._sweep_seconds = sweep_seconds
        self._credentials = credentials
        # One key pair a process; only the public half leaves it, to be certified for each user.
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        self._public_key = self._key.export_public_key().decode().strip()
        self._open: dict[tuple[str, str], Connection] = {}
        self._opening = Flights(
            lasting=True
        )  # a slow login goes on, for the next attempt of its user
        self._retired: list[Connection] = []

    async def connection(self, system: str) -> Connection:
        """An open connection of the current caller to `system`; raises ConnectionFailed or Overloaded.

        A call whose token has expired since it began may use the connection that its user has, but gets no new one.
        """
        key = (system, caller.current().username)
        current = self._open.get(key)
        if current and current.open and not _ends_soon(current):
            return current
        try:
            return await self._opening.run(key, lambda: self._opened(key))
        except Unauthenticated:
            if current and current.open:
                return current
            raise

    @asynccontextmanager
    async def sweeping(self) -> AsyncIterator["SshPool"]:
        """Close idle connections inside the block, and all at its end."""
        try:
            async with background.running(self._sweep()):
                yield self
        finally:
            await self._opening.close()
            connections = [*self._open.values(), *self._retired]
            await asyncio.gather(*(connection.close() for connection in connections))

    async def _opened(self, key: tuple[str, str]) -> Connection:
        system = self._systems[key[0]]
        await self._make_room(system)
        credential = await self._credentials.ssh_credential(system.name, self._public_key)
        route = await connect(system, credential, self._key)
        connection = Connection(system.name, system.ssh, route, credential.expires)
        try:
            await require_user(connection, system.ssh)
        except BaseException:
            await connection.close()
            raise
        replaced, self._open[key] = self._open.get(key), connection
        if replaced and replaced.open:  # its credential ends soon; calls in flight may finish
            self._retired.append(replaced)
        return connection

    async def _make_room(self, system: System) -> None:
        mine = [(key, c) for key, c in self._open.items() if key[0] == system.name and c.open]
        if len(mine) + len(self._opening) <= system.ssh.max_connections:
            return
        idle = sorted((c.used, key) for key, c in mine if c.idle)
        if not idle:
            raise Overloaded(f"All connections to system {system.name} are in use.")
        await self._open.pop(idle[0][1]).close()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_seconds)
            for key, connection in list(self._open.items()):
                limit = self._systems[key[0]].ssh.timeout.idle
                unused = time.monotonic() - connection.used
                if not connection.open or (connection.idle and unused > limit):
                    del self._open[key]
                    await connection.close()
            for retired in [connection for connection in self._retired if connection.idle]:
                self._retired.remove(retired)
                await retired.close()


class SystemShell:
    """The `Shell` of one system: runs commands as the current caller, on connections of the pool."""

    def __init__(self, pool: SshPool, system: System, *, timeout: float) -> None:
        self._pool = pool
        self._system = system
        self._timeout = timeout

    async def run(self, command: Command[T]) -> T:
        """See `Shell.run`. A repeatable command is run once more when its connection is lost."""
        try:
            return await self._run_once(command)
        except LoginRefused:
            raise
        except ConnectionFailed:
            if not command.repeatable:
                raise
        return await self._run_once(command)

    async def _run_once(self, command: Command[T]) -> T:
        connection = await self._pool.connection(self._system.name)
        async with connection.use():
            output = await connection.run(
                command.request,
                command.stdin,
                self._timeout,
                at_once=command.repeatable or command.greeted is not None,
                greeted=command.greeted,
                seconds_after_input=command.seconds_after_input,
            )
        return await computed(lambda: command.result(output), output.stdout.count("\n"))


def _ends_soon(connection: Connection) -> bool:
    """Whether its credential ends soon, or it is too old for new calls."""
    if connection.expires is not None and connection.expires - time.time() < _EXPIRY_MARGIN:
        return True
    return time.monotonic() > connection.too_old_at

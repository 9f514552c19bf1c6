"""The pool: a connection per (system, user), opened when needed, shared, closed when idle."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

import asyncssh

from passerelle.runtime import caller
from passerelle.runtime.auth_client import SshCredential
from passerelle.runtime.command import Command, T
from passerelle.runtime.config import Ssh, System
from passerelle.runtime.errors import ConnectionFailed, DeadlineExceeded, Overloaded
from passerelle.runtime.ssh.connection import Connection

log = logging.getLogger(__name__)

# aes128-gcm first: asyncssh prefers chacha20, which moves half as much (490 against 911 MB/s, measured).
_CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes256-ctr",
    "aes128-ctr",
)
_EXPIRY_MARGIN = 5.0  # seconds before a credential's end at which its connection takes no new calls


class CredentialSource(Protocol):
    """Gives the current caller a way to log in."""

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
        self._systems = systems
        self._sweep_seconds = sweep_seconds
        self._credentials = credentials
        # One key pair a process; only the public half leaves it, to be certified for each user.
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        self._public_key = self._key.export_public_key().decode().strip()
        self._open: dict[tuple[str, str], Connection] = {}
        self._opening: dict[tuple[str, str], asyncio.Task[Connection]] = {}
        self._retired: list[Connection] = []

    async def connection(self, system: str) -> Connection:
        """An open connection of the current caller to `system`; raises ConnectionFailed or Overloaded."""
        key = (system, caller.current().username)
        found = self._open.get(key)
        if found and found.open and not _ends_soon(found):
            return found
        task = self._opening.get(key)
        if task is None:
            task = asyncio.create_task(self._opened(key))
            self._opening[key] = task
            task.add_done_callback(lambda _: self._opening.pop(key, None))
        return await asyncio.shield(task)

    @asynccontextmanager
    async def sweeping(self) -> AsyncIterator["SshPool"]:
        """Close idle connections inside the block, and all at its end."""
        sweeper = asyncio.create_task(self._sweep())
        try:
            yield self
        finally:
            sweeper.cancel()
            for task in self._opening.values():
                task.cancel()
            left = [*self._open.values(), *self._retired]
            await asyncio.gather(*(found.close() for found in left))

    async def _opened(self, key: tuple[str, str]) -> Connection:
        system = self._systems[key[0]]
        await self._make_room(system)
        credential = await self._credentials.ssh_credential(system.name, self._public_key)
        route = await _connect(system, credential, self._key)
        connection = Connection(system.name, system.ssh, route, credential.expires)
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
            for key, found in list(self._open.items()):
                limit = self._systems[key[0]].ssh.timeout.idle
                if not found.open or (found.idle and time.monotonic() - found.used > limit):
                    del self._open[key]
                    await found.close()
            for retired in [found for found in self._retired if found.idle]:
                self._retired.remove(retired)
                await retired.close()


class SystemShell:
    """The `Shell` of one system: runs commands over the pool, as the current caller."""

    def __init__(self, pool: SshPool, system: System, *, timeout: float) -> None:
        self._pool = pool
        self._system = system
        self._timeout = timeout

    async def run(self, command: Command[T]) -> T:
        """See `Shell.run`. A repeatable command is run once more when its connection is lost."""
        try:
            return await self._run_once(command)
        except ConnectionFailed:
            if not command.repeatable:
                raise
        return await self._run_once(command)

    async def _run_once(self, command: Command[T]) -> T:
        connection = await self._pool.connection(self._system.name)
        async with connection.use():
            output = await connection.run(
                command.request, command.stdin, self._timeout, at_once=command.repeatable
            )
        return command.result(output)


async def _connect(
    system: System, credential: SshCredential, key: asyncssh.SSHKey
) -> tuple[asyncssh.SSHClientConnection, ...]:
    """The connections to the system: through the jump host, if there is one, which comes first."""
    settings = system.ssh
    hops = [(settings.host, settings.port)]
    if settings.proxy_host is not None:
        hops.insert(0, (settings.proxy_host, settings.proxy_port))
    route: list[asyncssh.SSHClientConnection] = []
    try:
        for host, port in hops:
            tunnel = route[-1] if route else None
            route.append(await _open(settings, host, port, credential, key, tunnel))
    except BaseException as error:
        for opened in route:
            opened.close()
        raise _explained(system, error) from None
    return tuple(route)


def _explained(system: System, error: BaseException) -> BaseException:
    """What a failed connection means to the caller."""
    match error:
        case TimeoutError():
            return DeadlineExceeded(f"Connecting to system {system.name} took too long.")
        case asyncssh.HostKeyNotVerifiable():
            log.error("the host key of system %s is not among the configured ones", system.name)
            return _failed(system, "its host key is not the configured one")
        case asyncssh.PermissionDenied():
            return _failed(system, "the login was refused")
        case OSError() | asyncssh.Error():
            log.warning("cannot connect to system %s: %s", system.name, error)
            return _failed(system, "its login node does not answer")
    return error


async def _open(
    settings: Ssh,
    host: str,
    port: int,
    credential: SshCredential,
    key: asyncssh.SSHKey,
    tunnel: asyncssh.SSHClientConnection | None,
) -> asyncssh.SSHClientConnection:
    return await asyncssh.connect(
        host,
        port,
        tunnel=tunnel or (),
        username=credential.username,
        client_keys=[_identity(credential, key)],
        known_hosts=_known_hosts(settings),
        config=None,
        agent_path=None,
        gss_host=None,
        preferred_auth="publickey",
        encryption_algs=_CIPHERS,
        compression_algs=None,
        connect_timeout=settings.timeout.connection,
        login_timeout=settings.timeout.login,
        keepalive_interval=settings.timeout.keep_alive,
    )


def _identity(
    credential: SshCredential, key: asyncssh.SSHKey
) -> asyncssh.SSHKey | tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]:
    if credential.private_key:
        key = asyncssh.import_private_key(credential.private_key)
    if credential.certificate:
        return key, asyncssh.import_certificate(credential.certificate)
    return key


def _known_hosts(settings: Ssh) -> asyncssh.SSHKnownHosts | str | None:
    if settings.insecure_accept_any_host_key:
        return None
    if settings.known_hosts is not None:
        return str(settings.known_hosts)
    lines = []
    for key in settings.host_keys:
        marker, _, rest = key.partition(" ") if key.startswith("@") else ("", "", key)
        lines.append(f"{marker} * {rest}".strip())
    return asyncssh.import_known_hosts("\n".join(lines) + "\n")


def _failed(system: System, why: str) -> ConnectionFailed:
    return ConnectionFailed(
        f"Unable to establish SSH connection. System {system.name}: {why}.", system=system.name
    )


def _ends_soon(connection: Connection) -> bool:
    """Whether its credential does, or it is too old."""
    if connection.expires is not None and connection.expires - time.time() < _EXPIRY_MARGIN:
        return True
    return time.monotonic() > connection.ages

"""A small real SSH server on loopback for tests: asyncssh, in this process, one authorised key for any user name."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from passerelle.runtime.ssh.credential import SshCredential


@dataclass
class Server:
    """A running server: its port, its host key's public line, how often it was logged in to, and its connections."""

    port: int = 0
    host_key: str = ""
    logins: int = 0
    connections: list[asyncssh.SSHServerConnection] = field(default_factory=list)
    forwards: bool = True
    """Whether it can be a jump host."""
    before: str = ""
    """Commands that the login shell runs first, as from a start-up file."""

    def drop_all(self) -> None:
        """Cut every connection, as a failing network would."""
        for connection in self.connections:
            connection.abort()
        self.connections.clear()


class Keys:
    """Static credentials for every user: a fake at the port of the SSH pool."""

    def __init__(self, username: str = "alice", expires: float | None = None) -> None:
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.username = username
        self.expires = expires
        self.requests = 0

    async def ssh_credential(self, system: str, public_key: str) -> SshCredential:
        """The one key, for every user."""
        self.requests += 1
        private = self.key.export_private_key().decode()
        return SshCredential(self.username, "", private, self.expires)


@asynccontextmanager
async def serving_ssh(authorised: asyncssh.SSHKey, *, sftp: bool = True) -> AsyncIterator[Server]:
    """Serve commands inside the block, and SFTP where it is wanted."""
    server = Server()
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    public = authorised.export_public_key().decode()

    class Login(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            server.connections.append(conn)

        def auth_completed(self) -> None:
            server.logins += 1

        def connection_requested(self, *_: Any) -> bool:
            if not server.forwards:
                forbidden = asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED
                raise asyncssh.ChannelOpenError(forbidden, "open failed")  # as OpenSSH does
            return True

    running: set[asyncio.Task[Any]] = set()

    async def run(process: "asyncssh.SSHServerProcess[bytes]") -> None:
        task = asyncio.create_task(_run(process, server.before))
        running.add(task)
        await task

    acceptor = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Login,
        server_host_keys=[host_key],
        authorized_client_keys=asyncssh.import_authorized_keys(public),
        process_factory=run,
        sftp_factory=sftp,
        encoding=None,
    )
    server.port = acceptor.get_port()
    server.host_key = host_key.export_public_key().decode().strip()
    async with acceptor:
        yield server
        for connection in server.connections:
            connection.close()
            await connection.wait_closed()
        if running:  # commands end with their connection, a moment later
            await asyncio.wait(running, timeout=10)


def _environment() -> dict[str, str]:
    """Ours as it is now, which a test may have changed, with the interpreter itself first.

    A version manager's `python3` is a script that takes longer than the rest.
    """
    return os.environ | {"PATH": f"{Path(sys.executable).resolve().parent}:{os.environ['PATH']}"}


async def _run(process: "asyncssh.SSHServerProcess[bytes]", before: str) -> None:
    child = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        before + (process.command or "true"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(),
        start_new_session=True,
    )
    # not redirected as the others are: a channel closed while input comes would take the whole connection with it
    feeding = asyncio.create_task(_feed(process.stdin, child))
    try:
        # EOF on stdout would end the channel for stderr too
        await process.redirect(None, child.stdout, child.stderr, send_eof=False)
        waiting: asyncio.Task[Any] = asyncio.create_task(child.wait())
        closing = asyncio.create_task(process.wait_closed())
        await asyncio.wait({waiting, closing}, return_when=asyncio.FIRST_COMPLETED)
        closing.cancel()
        if waiting.done():
            # at once: the number of what has ended is given again
            _signal(child.pid, signal.SIGKILL)
            await process.stdout.drain()
            await process.stderr.drain()
            process.exit(child.returncode or 0)
    finally:
        if child.returncode is None:
            _signal(child.pid, signal.SIGKILL)
        # asyncio waits for output that nobody reads any more, and has no public way not to
        child._transport.close()  # type: ignore[attr-defined]
        await child.wait()
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
        process.close()
        # This also runs asyncssh's clean-up of the redirected streams, which waits for ever for input that nobody took.
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait_closed(), 1)


def _signal(group: int, which: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, which)


async def _feed(source: "asyncssh.SSHReader[bytes]", child: asyncio.subprocess.Process) -> None:
    """Pass the client's input to the child, and its signals to the child's process group."""
    assert child.stdin is not None
    while True:
        try:
            data = await source.read(1 << 16)
        except asyncssh.SignalReceived as received:
            if child.returncode is None:
                _signal(child.pid, signal.Signals[f"SIG{received.signal}"])
            continue
        if not data:
            child.stdin.close()
            return
        with suppress(BrokenPipeError, ConnectionResetError):
            child.stdin.write(data)
            await child.stdin.drain()

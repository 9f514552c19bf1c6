"""A small SSH server on loopback, for the operating system's user that runs it: commands and SFTP, no terminals.

It accepts one kind of login: a certificate of the configured authority, for exactly that user.
"""

import asyncio
import os
import posixpath
import pwd
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import cast

import asyncssh
from asyncssh.channel import SSHChannel

from passerelle.development.config import DevelopmentSshd
from passerelle.development.keys import kept_key
from passerelle.development.processes import Account, RunningCommand
from passerelle.runtime.sockets import listening

_NOT_STARTED = 126  # the shell's exit status for what cannot be executed
_SFTP_VERSION = 3
_CHUNK = 64 << 10  # bytes
# The signals that RFC 4254 §6.10 names.
_SIGNALS = {
    name: getattr(signal, f"SIG{name}")
    for name in (
        "ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL",
        "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2",
    )
}  # fmt: skip


class Sessions:
    """What runs now, so that stopping the server leaves nothing behind."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self._ending: set[asyncio.Task[None]] = set()

    def end(self, command: RunningCommand) -> None:
        """See to it in the background that the command ends."""
        task = asyncio.create_task(command.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """Close all connections, and return when their commands have ended."""
        for connection in tuple(self.connections):
            connection.abort()
            await connection.wait_closed()
        await asyncio.gather(*self._ending)


class Login(asyncssh.SSHServer):
    """One connection: who may log in, and what for."""

    def __init__(self, sessions: Sessions, authorized: asyncssh.SSHAuthorizedKeys) -> None:
        self._sessions = sessions
        self._authorized = authorized
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Remember the connection."""
        self._connection = conn
        self._sessions.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._connection is not None:
            self._sessions.connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        """Let the certificate authority speak for this process's own user, and for nobody else."""
        if self._connection is not None and username == self._sessions.account.name:
            self._connection.set_authorized_keys(self._authorized)
        return True

    def session_requested(self) -> "Session":
        """Every channel is a session of its own."""
        return Session(self._sessions)


class Session(asyncssh.SSHServerProcess[bytes]):
    """One channel: a command, or the SFTP subsystem."""

    def __init__(self, sessions: Sessions) -> None:
        super().__init__(self._serve, partial(Files, sessions.account), _SFTP_VERSION, False)
        self._sessions = sessions
        self._closed = False
        self._command: RunningCommand | None = None
        self._serving: asyncio.Task[None] | None = None

    def shell_requested(self) -> bool:
        """There are no interactive shells."""
        return False

    def subsystem_requested(self, subsystem: str) -> bool:
        """SFTP is the only subsystem."""
        return subsystem == "sftp"

    def exception_received(self, exc: Exception) -> None:
        """Pass the client's signal on to the command's whole process group; nothing else means anything here."""
        if isinstance(exc, asyncssh.SignalReceived) and self._command is not None:
            self._command.signal(_SIGNALS.get(exc.signal, 0))

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is closed: what still runs on it ends."""
        super().connection_lost(exc)
        self._closed = True
        if self._command is not None:
            self._sessions.end(self._command)
        if self._serving is not None:
            self._serving.cancel()

    async def _serve(self, _: asyncssh.SSHServerProcess[bytes]) -> None:
        if self._closed:
            return
        try:
            self._command = RunningCommand(self._sessions.account, self.command or "")
        except (OSError, ValueError) as error:
            self.stderr.write(f"cannot start the command: {error}\n".encode())
            self.exit(_NOT_STARTED)
            return
        status = await self._ended(self._command)
        self._command = self._serving = None
        if status >= 0:
            self.exit(status)
        else:
            self.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))

    async def _ended(self, command: RunningCommand) -> int:
        """Its exit status, once all its output is sent, which may be after its end: its children write on."""
        async with command.streams() as (stdin, stdout, stderr):
            if self._closed:
                raise asyncio.CancelledError
            # Not earlier: uvloop closes descriptors twice when opening them is cancelled.
            self._serving = asyncio.current_task()
            feeding = asyncio.create_task(_feed(self.stdin, stdin))
            try:
                await asyncio.gather(_forward(stdout, self.stdout), _forward(stderr, self.stderr))
                return await command.status()
            finally:
                feeding.cancel()


async def _feed(source: asyncssh.SSHReader[bytes], stdin: asyncio.StreamWriter) -> None:
    with suppress(OSError, asyncssh.Error):  # the command may read no more, the client may be gone
        while data := await source.read(_CHUNK):
            stdin.write(data)
            await stdin.drain()
    stdin.close()


async def _forward(source: asyncio.StreamReader, target: asyncssh.SSHWriter[bytes]) -> None:
    with suppress(OSError, asyncssh.Error):  # the client may be gone
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()


class Files(asyncssh.SFTPServer):
    """The user's real filesystem; relative paths start at home."""

    def __init__(self, account: Account, chan: SSHChannel[bytes]) -> None:
        super().__init__(cast(asyncssh.SSHServerChannel[bytes], chan))
        self._home = os.fsencode(account.home)

    def map_path(self, path: bytes) -> bytes:
        """The local path that a client's path means."""
        return posixpath.join(self._home, path)


@asynccontextmanager
async def serving_ssh(settings: DevelopmentSshd) -> AsyncIterator[int]:
    """The SSH server, inside the block; yields its port."""
    account = _current_account()
    sessions = Sessions(account)
    authorized = asyncssh.import_authorized_keys(
        f'cert-authority,principals="{account.name}" {settings.user_ca}\n'
    )
    with listening(settings.listen) as socket:
        acceptor = await asyncssh.listen(
            sock=socket,
            server_factory=lambda: Login(sessions, authorized),
            server_host_keys=[kept_key(settings.host_key_file, "ssh-ed25519")],
            encoding=None,
            allow_pty=False,
            line_editor=False,
            agent_forwarding=False,
            compression_algs=None,
            gss_host=None,
        )
        try:
            yield acceptor.get_port()
        finally:
            acceptor.close()
            await acceptor.wait_closed()
            await sessions.close()


def _current_account() -> Account:
    entry = pwd.getpwuid(os.getuid())
    return Account(entry.pw_name, entry.pw_dir, entry.pw_shell)

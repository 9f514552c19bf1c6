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

_NOT_STARTED = 126  # the shell's exit status for what cannot be executed
_SFTP_VERSION = 3
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
        self._command: RunningCommand | None = None
        self._closed = False

    def shell_requested(self) -> bool:
        """There are no interactive shells."""
        return False

    def subsystem_requested(self, subsystem: str) -> bool:
        """SFTP is the only subsystem."""
        return subsystem == "sftp"

    def signal_received(self, signal: str) -> None:
        """Pass the client's signal on to the command's whole process group."""
        if self._command is not None and (number := _SIGNALS.get(signal)):
            self._command.signal(number)

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is closed: what still runs on it ends."""
        super().connection_lost(exc)
        self._closed = True
        if self._command is not None:
            self._sessions.end(self._command)

    def resume_feeding(self, datatype: int | None) -> None:
        """The command's stdin takes data again. Later: the transport that says so is not ready for more just now.

        asyncio closes a pipe too early, losing data, when more data and its end are written while it calls back
        (`_UnixWritePipeTransport._write_ready`, Python 3.11).
        """
        asyncio.get_running_loop().call_soon(self._resume, datatype)

    def _resume(self, datatype: int | None) -> None:
        if not self._closed:
            super().resume_feeding(datatype)

    async def _serve(self, _: asyncssh.SSHServerProcess[bytes]) -> None:
        if self._closed:
            return
        try:
            command = RunningCommand(self._sessions.account, self.command or "")
        except (OSError, ValueError) as error:
            self.stderr.write(f"cannot start the command: {error}\n".encode())
            self.exit(_NOT_STARTED)
            return
        self._command = command
        stdin, stdout, stderr = command.streams
        await self.redirect(stdin, stdout, stderr, send_eof=False)
        status = await command.status()
        with suppress(asyncssh.Error, OSError):  # the client may be gone
            await self.stdout.drain()
            await self.stderr.drain()
            self._command = None
            self._report(status)
        await self.wait_closed()  # and for the pipes, which asyncssh closes with the channel

    def _report(self, status: int) -> None:
        if status >= 0:
            self.exit(status)
        else:
            self.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))


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
    host, _, port = settings.listen.rpartition(":")
    authorized = asyncssh.import_authorized_keys(
        f'cert-authority,principals="{account.name}" {settings.user_ca}\n'
    )
    acceptor = await asyncssh.listen(
        host.strip("[]"),
        int(port),
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

"""A small SSH server on loopback, for the operating system's user that runs it: commands and SFTP, no terminals.

It accepts one kind of login: a certificate of the configured authority, for exactly that user.
"""

import asyncio
import os
import posixpath
import pwd
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, cast

import asyncssh
from asyncssh.channel import SSHChannel

from passerelle.development.config import HOST_KEY, DevelopmentSshd
from passerelle.development.keys import kept_key
from passerelle.development.processes import Account, RunningCommand
from passerelle.runtime.serving.sockets import listening

_NOT_STARTED = 126  # the shell's exit status for what cannot be executed
_SFTP_VERSION = 3
_CHUNK = 64 << 10  # bytes
# asyncssh (2.24) gives the sender a whole window again whenever it hands out a part of what has come: only who takes
# all there is never has more than two windows waiting for a slow command.
_ALL = 1 << 30
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
        self._tasks: set[asyncio.Task[None]] = set()

    def keep(self, task: asyncio.Task[None] | None) -> None:
        """Let the server not stop before the task has ended."""
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Close all connections, and return when their commands have ended."""
        for connection in tuple(self.connections):
            connection.abort()
            await connection.wait_closed()
        while self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.sleep(0)  # transports close in the round of the event loop after `close`


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
        super().__init__(self._start, partial(Files, sessions.account), _SFTP_VERSION, False)
        self._sessions = sessions
        self._command: RunningCommand | None = None
        self._copying: asyncio.Task[int] | None = None

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
        if self._command is not None:
            self._sessions.keep(asyncio.create_task(self._command.end()))
            self._command = None
        if self._copying is not None:
            self._copying.cancel()

    def _start(self, _: asyncssh.SSHServerProcess[bytes]) -> Coroutine[Any, Any, None] | None:
        """Start the command, at once, so that closing the channel always finds it; asyncssh awaits the rest."""
        try:
            self._command = RunningCommand(self._sessions.account, self.command or "")
        except (OSError, ValueError) as error:
            self.stderr.write(f"cannot start the command: {error}\n".encode())
            self.exit(_NOT_STARTED)
            return None
        return self._serve(self._command)

    async def _serve(self, command: RunningCommand) -> None:
        self._sessions.keep(asyncio.current_task())
        async with command.streams() as streams:
            if self._command is None:
                return
            # Only this may be cancelled: uvloop closes descriptors twice when opening their pipes is.
            self._copying = asyncio.create_task(self._copied(command, *streams))
            await asyncio.wait((self._copying,))
        if self._command is None:
            return
        self._command, status = None, self._copying.result()
        if status >= 0:
            self.exit(status)
        else:
            self.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))

    async def _copied(
        self,
        command: RunningCommand,
        stdin: asyncio.StreamWriter,
        stdout: asyncio.StreamReader,
        stderr: asyncio.StreamReader,
    ) -> int:
        """The exit status, once all output is sent, which may be later than the end: children may write on."""
        async with asyncio.TaskGroup() as group:
            feeding = group.create_task(_feed(self.stdin, stdin))
            await asyncio.gather(_forward(stdout, self.stdout), _forward(stderr, self.stderr))
            status = await command.status()
            feeding.cancel()
        return status


async def _feed(source: asyncssh.SSHReader[bytes], stdin: asyncio.StreamWriter) -> None:
    with suppress(OSError, asyncssh.Error):  # the command may read no more, the client may be gone
        while data := await source.read(_ALL):
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
            server_host_keys=[
                kept_key(settings.host_key_file, HOST_KEY, "development.sshd.host_key_file")
            ],
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

"""One user's connection to one system: commands queued below MaxSessions, and one long-lived SFTP session.

Measured on OpenSSH 9.2: the server frees a session slot some milliseconds after the client saw the channel
close, so that even a queue below MaxSessions now and then meets a refused channel; it is asked for again after a pause.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncssh

from passerelle.runtime.command import Output
from passerelle.runtime.config import Ssh
from passerelle.runtime.errors import ConnectionFailed, DeadlineExceeded, Overloaded
from passerelle.runtime.turns import Turns

log = logging.getLogger(__name__)

_REFUSED_PAUSE = 0.005  # seconds
_REFUSED_ATTEMPTS = 40
_KILL_GRACE = 0.5  # seconds between TERM and KILL for a remote process that was given up

LOST = (asyncssh.ConnectionLost, asyncssh.DisconnectError, BrokenPipeError, ConnectionError)
"""What asyncssh raises when the connection under a channel goes away."""


class Connection:
    """An open SSH connection: the last of `route`, which begins with the jump host if there is one.

    `expires` is when its credential ends, in seconds since the epoch, or None.
    """

    def __init__(
        self,
        system: str,
        settings: Ssh,
        route: Sequence[asyncssh.SSHClientConnection],
        expires: float | None,
    ) -> None:
        self.system = system
        self.expires = expires
        self.used = time.monotonic()
        self._ssh = route[-1]
        self._route = route
        self._channels = Turns(system, settings.max_channels, settings.max_waiting)
        self._busy = 0
        self._sftp: asyncssh.SFTPClient | None = None
        self._sftp_lock = asyncio.Lock()
        self._lost = asyncio.create_task(self._wait_closed())

    @property
    def open(self) -> bool:
        """Whether it can still be used."""
        return not self._lost.done()

    @property
    def idle(self) -> bool:
        """Whether nobody uses it now."""
        return self._busy == 0

    @asynccontextmanager
    async def use(self) -> AsyncIterator[None]:
        """Keep the connection from being closed as idle inside the block."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self.used = time.monotonic()

    async def run(self, line: str, stdin: str, limit: float, *, errors: str = "replace") -> Output:
        """Run one command line to its end, within `limit` seconds counted from its start.

        `errors` says what becomes of bytes in the output that are not UTF-8, as for bytes.decode.

        Raises Overloaded when too many wait already, DeadlineExceeded when it takes longer (the remote process is ended
        then, as it is on cancellation), ConnectionFailed when the connection is lost.
        """
        async with self._channels.turn():
            process = await self.start(line, errors=errors)
            try:
                if not stdin:  # `communicate` ends the input only when it has sent some
                    process.stdin.write_eof()
                return await self._ended(process, process.communicate(stdin), limit)
            except LOST:
                raise self._failed() from None
            finally:
                _end(process)

    async def _ended(
        self, process: "asyncssh.SSHClientProcess[Any]", talk: Awaitable[Any], limit: float
    ) -> Output:
        """What the process left within `limit` seconds; after that it is ended before anybody is told.

        What succeeded all the same while it was being ended counts: a job that is queued is no timeout.
        """
        talking = asyncio.ensure_future(talk)
        try:
            done = await _done_within(talking, limit)
            if not done:
                _signal(process, process.terminate)
                done = await _done_within(talking, _KILL_GRACE)
                if not done:
                    _signal(process, process.kill)
                    await _done_within(talking, _KILL_GRACE)
                if not done or process.exit_status != 0:
                    raise DeadlineExceeded("Command execution timeout limit exceeded.")
            stdout, stderr = await talking
        finally:
            talking.cancel()
        if process.exit_status is None:
            raise self._failed()
        return Output(process.exit_status, str(stdout), str(stderr))

    @asynccontextmanager
    async def piped(self, line: str) -> AsyncIterator["asyncssh.SSHClientProcess[bytes]"]:
        """One command line, running as long as the block does, on one of the channels that `run` shares.

        Its streams are bytes; lone surrogates in the line stand for bytes that are not UTF-8 (PEP 383). Leaving the
        block ends the process. Raises Overloaded or ConnectionFailed on the way in.
        """
        async with self.use(), self._channels.turn():
            command: Any = line.encode("utf-8", "surrogateescape")
            process = await self.start(command, encoding=None)
            try:
                yield process
            finally:
                _end(process)
                with suppress(TimeoutError):
                    async with asyncio.timeout(2 * _KILL_GRACE):
                        await process.wait_closed()

    async def start(self, line: str, **options: Any) -> "asyncssh.SSHClientProcess[Any]":
        """Start a process on a channel of its own, asking again when the server has no session slot free yet.

        Long-lived processes take their channel for as long as they live, beside those that `run` counts.
        """
        options.setdefault("encoding", "utf-8")
        options.setdefault("errors", "replace")
        for _ in range(_REFUSED_ATTEMPTS):
            try:
                return await self._ssh.create_process(line, **options)
            except asyncssh.ChannelOpenError:
                if not self.open:
                    raise self._failed() from None
                await asyncio.sleep(_REFUSED_PAUSE)
            except LOST:
                raise self._failed() from None
        raise Overloaded(f"System {self.system} has no SSH session free.", system=self.system)

    async def sftp(self) -> asyncssh.SFTPClient:
        """The connection's one SFTP session, opened when first asked for."""
        async with self._sftp_lock:
            if self._sftp is None:
                try:
                    self._sftp = await self._ssh.start_sftp_client()
                except (*LOST, asyncssh.Error):
                    raise self._failed() from None
            return self._sftp

    def drop_sftp(self) -> None:
        """Forget the SFTP session, so that the next call opens a new one."""
        if self._sftp is not None:
            self._sftp.exit()
        self._sftp = None

    async def close(self) -> None:
        """Close it, ending what runs on it."""
        for hop in reversed(self._route):
            hop.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.shield(self._lost)

    async def _wait_closed(self) -> None:
        await self._ssh.wait_closed()
        for hop in reversed(self._route[:-1]):
            hop.close()
            await hop.wait_closed()

    def _failed(self) -> ConnectionFailed:
        return ConnectionFailed(
            f"The SSH connection to system {self.system} was lost.", system=self.system
        )


async def _done_within(task: "asyncio.Future[Any]", seconds: float) -> bool:
    done, _ = await asyncio.wait((task,), timeout=seconds)
    return bool(done)


def _end(process: "asyncssh.SSHClientProcess[Any]") -> None:
    """Make sure that an abandoned remote process ends: TERM, a moment later KILL, then close the channel.

    A channel whose input has ended still takes signals, although asyncssh calls it closing from then on.
    """
    if process.exit_status is not None or process.exit_signal is not None:
        process.close()
        return
    _signal(process, process.terminate)
    asyncio.get_running_loop().call_later(_KILL_GRACE, _kill, process)


def _kill(process: "asyncssh.SSHClientProcess[Any]") -> None:
    _signal(process, process.kill)
    process.close()


def _signal(process: "asyncssh.SSHClientProcess[Any]", send: Callable[[], None]) -> None:
    """Send a signal, unless the process has ended or its channel is gone."""
    if process.exit_status is None and process.exit_signal is None:
        with suppress(OSError, asyncssh.Error):
            send()

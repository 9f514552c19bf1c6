"""One user's connection to one system: commands queued below MaxSessions, and one long-lived SFTP session.

Measured on OpenSSH 9.2: the server frees a session slot some milliseconds after the client has seen the channel close.
So even with fewer channels than MaxSessions one is sometimes refused; it is requested again after a pause.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import TypeVar

import asyncssh

from passerelle.runtime import background
from passerelle.runtime.call_queue import CallQueue
from passerelle.runtime.command import Output, Request
from passerelle.runtime.config.site import Ssh
from passerelle.runtime.errors import (
    BackendError,
    BackendUnavailable,
    ConnectionFailed,
    DeadlineExceeded,
    Overloaded,
)
from passerelle.runtime.flight import Flights
from passerelle.runtime.metrics import SSH_CONNECTIONS
from passerelle.runtime.ssh.bootstrap import FRAMES, LINE
from passerelle.runtime.ssh.program import (
    LOST,
    STOPPING,
    Program,
    abandoned,
    outcome,
)

T = TypeVar("T")

# Seconds between requests for a refused channel. A busy server, whose processes wait for their turn, takes seconds.
_REFUSED_PAUSES = (*(0.005,) * 40, *(0.1,) * 30)
_MAX_STDERR = 32 << 10  # bytes that are kept of a piped program's stderr
# asyncssh's code for a channel that was opened, but on which the server starts nothing.
_NOT_STARTED = 0xFFFFFFFF


class NoSftp(Exception):
    """This account has no SFTP on this system; the text has the reason."""


class _Use(AbstractAsyncContextManager[None]):
    """See `Connection.use`. A class, since a generator around each call would take longer."""

    __slots__ = ("_connection",)

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection

    async def __aenter__(self) -> None:
        self._connection._busy += 1

    async def __aexit__(self, *_: object) -> None:
        self._connection._busy -= 1
        self._connection.used = time.monotonic()


class Connection:
    """An open SSH connection: the last one of `route`, which begins with that of the jump host if there is one.

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
        self.too_old_at = self.used + settings.timeout.age
        """When it takes no new calls any more, in seconds of the monotonic clock."""
        self._ssh = route[-1]
        self._start_limit = settings.timeout.command
        self._route = route
        self._channels = CallQueue(
            system, "channels", at_once=settings.max_channels, most_waiting=settings.max_waiting
        )
        self._busy = 0
        self._sftp: asyncssh.SFTPClient | None = None
        self._no_sftp = ""
        self._sftp_start = Flights(lasting=True)
        self._leaving: set[asyncio.Task[None]] = set()
        self._lost = background.start(self._wait_closed(), system=system)

    @property
    def open(self) -> bool:
        """Whether it can still be used."""
        return not self._ssh.is_closed()

    @property
    def idle(self) -> bool:
        """Whether no call uses it now."""
        return self._busy == 0

    def use(self) -> AbstractAsyncContextManager[None]:
        """Keep the connection from being closed as idle inside the block."""
        return _Use(self)

    async def run(
        self,
        request: Request,
        stdin: str,
        limit: float,
        *,
        errors: str = "backslashreplace",
        at_once: bool = False,
        greeted: Callable[[str], bool] | None = None,
        seconds_after_input: float | None = None,
    ) -> Output:
        """Run a program to its end, within `limit` seconds counted from its start.

        `errors` says how bytes of the output that are not UTF-8 are decoded, as for bytes.decode. Unless `at_once`, the
        program starts only when the login shell has answered, so never after the request was cancelled. With `greeted`,
        it gets its input when it has printed a line for which that returns true. It is told to end when it still runs
        `seconds_after_input`; unlike after `limit`, what it left is returned.

        Raises Overloaded when too many wait already, DeadlineExceeded when it takes longer, ConnectionFailed when the
        connection is lost, BackendError when the login shell does not run it. When this returns or raises, also when it
        is cancelled, the program has ended. If it completes although it was told to end, its result counts.
        """
        async with self._started() as program:
            work = asyncio.create_task(
                outcome(
                    program,
                    request,
                    stdin.encode(),
                    at_once=at_once,
                    greeted=greeted,
                    seconds_after_input=seconds_after_input,
                )
            )
            try:
                await asyncio.wait({work}, timeout=limit)
                if not work.done():
                    timed_out = self._timed_out(program)
                    program.stop()
                    await asyncio.wait({work}, timeout=STOPPING)
                    if not work.done() or work.exception() or work.result()[0]:
                        raise timed_out
                status, stdout, stderr = work.result()
            finally:
                await abandoned(work)
            return Output(status, stdout.decode(errors=errors), stderr.decode(errors=errors))

    @asynccontextmanager
    async def piped(self, request: Request, how: bytes = FRAMES) -> AsyncIterator[Program]:
        """A program that runs as long as the block does, on one of the channels that `run` shares.

        Its input is sent by `write`; only the first part of its stderr is kept. Leaving the block ends it. With `how`
        ALL, it reads the frames itself, has to end when its input does, and its exit status is not known. Entering the
        block raises Overloaded, ConnectionFailed, BackendError when the login shell does not run it, and
        DeadlineExceeded when that takes too long.
        """
        async with self.use(), self._started() as program:
            program.send(request, _MAX_STDERR)
            try:
                async with asyncio.timeout(self._start_limit):
                    await program.ready()
            except TimeoutError:
                raise self._timed_out(program) from None
            program.go(how)
            yield program

    async def start(self) -> "asyncssh.SSHClientProcess[bytes]":
        """Run the login shell on a channel of its own; BackendError where the server runs nothing for this account.

        Long-lived processes take their channel for as long as they live, beside those that `run` counts.
        """
        return await self._start_shell(lambda: self._ssh.create_process(LINE, encoding=None))

    async def start_session(self, session: "asyncssh.SSHClientSession[bytes]") -> None:
        """As `start`, but asyncssh calls the methods of `session` with what happens on the channel."""
        await self._start_shell(
            lambda: self._ssh.create_session(lambda: session, LINE, encoding=None)
        )

    async def _start_shell(self, request: Callable[[], Awaitable[T]]) -> T:
        try:
            return await self._open_channel(request)
        except asyncssh.ChannelOpenError as error:
            detail = f"System {self.system} lets this account run no commands: {error.reason}"
            raise BackendError(detail, system=self.system) from None

    async def _open_channel(self, request: Callable[[], Awaitable[T]]) -> T:
        """Open a channel by `request`, again and again while the server has no session slot free yet.

        Raises ConnectionFailed, Overloaded, or asyncssh's own error when the server starts nothing on the channel.
        """
        for pause in _REFUSED_PAUSES:
            try:
                return await request()
            except asyncssh.ChannelOpenError as error:
                if not self.open:
                    raise self._failed() from None
                if error.code == _NOT_STARTED:
                    raise
                await asyncio.sleep(pause)
            except LOST:
                raise self._failed() from None
        raise Overloaded(f"System {self.system} has no SSH session free.", system=self.system)

    @asynccontextmanager
    async def _started(self) -> AsyncIterator[Program]:
        async with AsyncExitStack() as slot:
            await slot.enter_async_context(self._channels.slot())
            program = Program(await self.start(), self.system)
            try:
                yield program
            finally:
                leaving = asyncio.create_task(_release(program, slot.pop_all()))
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)
                if (
                    not program.ended
                ):  # wait for the program's end, but not for that of the shell around it
                    await background.ended(leaving)

    def _timed_out(self, program: Program) -> DeadlineExceeded:
        if program.begun:
            return DeadlineExceeded("Command execution timeout limit exceeded.")
        return DeadlineExceeded(
            f"System {self.system}: the start-up files of this account's login shell did not end in time."
        )

    async def sftp(self) -> asyncssh.SFTPClient:
        """The connection's one SFTP session, which the first call begins.

        Raises NoSftp where there is none, which is tried once; BackendUnavailable when it has not begun yet,
        ConnectionFailed or Overloaded.
        """
        if self._no_sftp:
            raise NoSftp(self._no_sftp)
        if self._sftp is not None:
            return self._sftp
        try:
            async with asyncio.timeout(self._start_limit):
                return await self._sftp_start.run("sftp", self._begin_sftp)
        except TimeoutError:
            raise BackendUnavailable(
                f"System {self.system}: SFTP has not begun yet; the start-up files of this account's login shell may "
                "be slow.",
                system=self.system,
            ) from None

    async def _begin_sftp(self) -> asyncssh.SFTPClient:
        try:
            self._sftp = await self._start_sftp()
        except NoSftp as reason:
            self._no_sftp = str(reason)
            raise
        return self._sftp

    async def _start_sftp(self) -> asyncssh.SFTPClient:
        try:
            asking = self._open_channel(self._ssh.start_sftp_client)
            return await background.start(asking, system=self.system)
        except asyncssh.ChannelOpenError as error:
            raise NoSftp(f"its sshd starts no Subsystem sftp ({error.reason})") from None
        except asyncssh.SFTPBadMessage as error:
            reason = "a start-up file of the login shell prints, or a forced command runs instead"
            raise NoSftp(
                f"something else answers in its place ({error.reason}): {reason}"
            ) from None
        except asyncssh.Error as error:
            if not self.open:
                raise self._failed() from None
            raise NoSftp(f"it ends at once ({error.reason})") from None

    def sftp_lost(self) -> ConnectionFailed:
        """The error for an SFTP session that broke off. If the connection did not, it gets no other SFTP session."""
        if not self.open:
            return self._failed()
        self._sftp, self._no_sftp = None, "its session broke off"
        detail = f"The SFTP session with system {self.system} was lost."
        return ConnectionFailed(detail, system=self.system)

    async def close(self) -> None:
        """Close the connection, which ends what runs on it."""
        await self._sftp_start.close()
        for hop in reversed(self._route):
            hop.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.shield(self._lost)
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=2)

    async def _wait_closed(self) -> None:
        with SSH_CONNECTIONS.labels(self.system).track_inprogress():
            await self._ssh.wait_closed()
            for hop in reversed(self._route[:-1]):
                hop.close()
                await hop.wait_closed()

    def _failed(self) -> ConnectionFailed:
        return ConnectionFailed(
            f"The SSH connection to system {self.system} was lost.", system=self.system
        )


async def _release(program: Program, slot: AsyncExitStack) -> None:
    """Wait for the end of the channel, and only then give its place to the next call."""
    async with slot:
        await program.close()

"""One user's connection to one system: commands queued below MaxSessions, and one long-lived SFTP session.

Measured on OpenSSH 9.2: the server frees a session slot some milliseconds after the client saw the channel
close, so that even a queue below MaxSessions now and then meets a refused channel; it is asked for again after a pause.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncssh

from passerelle.runtime.command import Output
from passerelle.runtime.config import Ssh
from passerelle.runtime.errors import ConnectionFailed, DeadlineExceeded, Overloaded, Unsupported
from passerelle.runtime.metrics import SSH_CONNECTIONS
from passerelle.runtime.ssh.bootstrap import FRAMES, LINE, Request
from passerelle.runtime.ssh.program import (
    LOST,
    STOPPING,
    Program,
    abandoned,
    finished,
    outcome,
)
from passerelle.runtime.turns import Turns

log = logging.getLogger(__name__)

_REFUSED_PAUSE = 0.005  # seconds
_REFUSED_ATTEMPTS = 40


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
        self.ages = self.used + settings.timeout.age
        """When it is too old for new calls, in seconds of the monotonic clock."""
        self._ssh = route[-1]
        self._start_limit = settings.timeout.command
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

    async def run(
        self,
        request: Request,
        stdin: str,
        limit: float,
        *,
        errors: str = "replace",
        at_once: bool = False,
    ) -> Output:
        """Run a program to its end, within `limit` seconds counted from its start.

        `errors` says what becomes of bytes in the output that are not UTF-8, as for bytes.decode. What need not begin
        `at_once` begins when the login shell has answered, so never after a request that was given up.

        Raises Overloaded when too many wait already, DeadlineExceeded when it takes longer, ConnectionFailed when the
        connection is lost, BackendError when the login shell does not run it. When this returns or raises, also when it
        is cancelled, the program has ended. What it brings to a good end when it is told to end, counts.
        """
        async with self._started() as program:
            work = asyncio.create_task(outcome(program, request, stdin.encode(), at_once=at_once))
            try:
                await asyncio.wait({work}, timeout=limit)
                if not work.done():
                    late = self._late(program)
                    program.stop()
                    await asyncio.wait({work}, timeout=STOPPING)
                    if not work.done() or work.exception() or work.result()[0]:
                        raise late
                status, stdout, stderr = work.result()
            finally:
                await abandoned(work)
            return Output(status, stdout.decode(errors=errors), stderr.decode(errors=errors))

    @asynccontextmanager
    async def piped(self, request: Request) -> AsyncIterator[Program]:
        """A program that runs as long as the block does, on one of the channels that `run` shares.

        Its input comes by `write`. Leaving the block ends it. Raises on the way in Overloaded, ConnectionFailed,
        BackendError when the login shell does not run it, and DeadlineExceeded when that takes too long.
        """
        async with self.use(), self._started() as program:
            program.ask(request)
            try:
                async with asyncio.timeout(self._start_limit):
                    await program.ready()
            except TimeoutError:
                raise self._late(program) from None
            program.go(FRAMES)
            yield program

    async def start(self, **options: Any) -> "asyncssh.SSHClientProcess[bytes]":
        """Run the login shell on a channel of its own, asking again when the server has no session slot free yet.

        Long-lived processes take their channel for as long as they live, beside those that `run` counts.
        """
        for _ in range(_REFUSED_ATTEMPTS):
            try:
                return await self._ssh.create_process(LINE, encoding=None, **options)
            except asyncssh.ChannelOpenError:
                if not self.open:
                    raise self._failed() from None
                await asyncio.sleep(_REFUSED_PAUSE)
            except LOST:
                raise self._failed() from None
        raise Overloaded(f"System {self.system} has no SSH session free.", system=self.system)

    @asynccontextmanager
    async def _started(self) -> AsyncIterator[Program]:
        async with self._channels.turn():
            program = Program(await self.start(), self.system)
            try:
                yield program
            finally:
                await finished(program.close())

    def _late(self, program: Program) -> DeadlineExceeded:
        if program.begun:
            return DeadlineExceeded("Command execution timeout limit exceeded.")
        return DeadlineExceeded(
            f"System {self.system}: the start-up files of this account's login shell did not end in time."
        )

    async def sftp(self) -> asyncssh.SFTPClient:
        """The connection's one SFTP session, opened when first asked for; Unsupported where there is none."""
        async with self._sftp_lock:
            if self._sftp is None:
                self._sftp = await self._opened_sftp()
            return self._sftp

    async def _opened_sftp(self) -> asyncssh.SFTPClient:
        try:
            async with asyncio.timeout(self._start_limit):
                return await self._ssh.start_sftp_client()
        except (*LOST, asyncssh.Error, TimeoutError) as error:
            if not self.open:
                raise self._failed() from None
            log.warning("system %s offers no SFTP: %s", self.system, error or "no answer")
            raise Unsupported(
                f"System {self.system} offers no SFTP to this account: its sshd has no Subsystem sftp, or a forced "
                "command or a start-up file that prints breaks it.",
                system=self.system,
            ) from None

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
        with SSH_CONNECTIONS.labels(self.system).track_inprogress():
            await self._ssh.wait_closed()
            for hop in reversed(self._route[:-1]):
                hop.close()
                await hop.wait_closed()

    def _failed(self) -> ConnectionFailed:
        return ConnectionFailed(
            f"The SSH connection to system {self.system} was lost.", system=self.system
        )

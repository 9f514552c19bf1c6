"""Runs the command of one SSH channel, as OpenSSH's sshd does without a terminal, but leaves nothing behind.

Plain pipes and `subprocess`, not the event loop's own child processes: uvloop gives children sockets instead of pipes
(so that `/dev/stdout` cannot be opened) and leaks copies of them, which keep a channel open behind a detached job.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from asyncio import StreamReader, StreamReaderProtocol, StreamWriter
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from typing import IO

_KILL_GRACE = 1.0  # seconds between TERM and KILL for what a closed channel leaves running
_STANDARD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Account:
    """The operating system's account that commands run as: the one of this process."""

    name: str
    home: str
    shell: str

    @property
    def environment(self) -> Mapping[str, str]:
        """What a login would set; nothing of this server's own, which may hold secrets."""
        return {
            "HOME": self.home,
            "USER": self.name,
            "LOGNAME": self.name,
            "SHELL": self.shell,
            "PATH": _path(),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
        }


class RunningCommand:
    """A command in a process group of its own, with pipes for its three streams."""

    def __init__(self, account: Account, command: str) -> None:
        """Start it; raises OSError or ValueError when it cannot be started."""
        self._process = subprocess.Popen(
            ("/bin/sh", "-c", command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=account.home,
            env=account.environment,
            start_new_session=True,
        )
        self._status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        # A thread for each command, as asyncio itself does where the kernel has no pidfd (before Linux 5.3).
        threading.Thread(target=self._wait, args=(self._status.get_loop(),), daemon=True).start()

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[tuple[StreamWriter, StreamReader, StreamReader]]:
        """Its stdin, stdout and stderr, to be used once; closed on leaving."""
        with ExitStack() as stack:
            stdin = await _writer(self._process.stdin)
            stack.callback(_drop, stdin)
            stdout = stack.enter_context(closing(await _reader(self._process.stdout)))
            stderr = stack.enter_context(closing(await _reader(self._process.stderr)))
            yield stdin, stdout.stream, stderr.stream

    async def status(self) -> int:
        """The exit status once it has ended; minus the signal's number when a signal ended it."""
        return await asyncio.shield(self._status)

    def signal(self, number: int) -> None:
        """Send a signal to its whole process group. What has made itself a session of its own is not in it."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def end(self) -> None:
        """Make sure that nothing of its process group is left: TERM, and after a moment KILL."""
        self.signal(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(_KILL_GRACE):
                await self.status()
        self.signal(signal.SIGKILL)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        status = self._process.wait()
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._ended, status)

    def _ended(self, status: int) -> None:
        if not self._status.done():
            self._status.set_result(status)


@dataclass(frozen=True, slots=True)
class _Source:
    stream: StreamReader
    transport: asyncio.ReadTransport

    def close(self) -> None:
        self.transport.close()


async def _reader(pipe: IO[bytes] | None) -> _Source:
    stream = StreamReader()
    protocol = StreamReaderProtocol(stream)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
    return _Source(stream, transport)


async def _writer(pipe: IO[bytes] | None) -> StreamWriter:
    loop = asyncio.get_running_loop()
    flow = StreamReaderProtocol(StreamReader())
    transport, _ = await loop.connect_write_pipe(lambda: flow, pipe)
    return StreamWriter(transport, flow, None, loop)


def _drop(stdin: StreamWriter) -> None:
    """Close it without what the command did not read; asyncio's pipes may not be aborted once they are closing."""
    if not stdin.is_closing():
        stdin.transport.abort()


def _path() -> str:
    """This server's PATH without its virtual environment, which users' commands have nothing to do with."""
    own = os.path.join(sys.prefix, "bin") if sys.prefix != sys.base_prefix else None
    entries = [entry for entry in os.environ.get("PATH", "").split(":") if entry and entry != own]
    return ":".join(dict.fromkeys(entries + _STANDARD_PATH.split(":")))

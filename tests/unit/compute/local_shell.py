"""A `Shell` on this machine: runs command lines as sshd does, without the network."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

from passerelle.runtime.command import Command, Output, T
from tests.lines import line_of

_COMMAND_SECONDS = 30.0  # what hangs is broken


class LocalShell:
    """Runs commands with `/bin/sh` in `home`, in a fresh session and environment, as sshd does after a login.

    Programs are looked for in `bin` of the home first.

    When a command has ended, whatever is left in its process group is killed, as it is when a login ends on a system
    that cleans up.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.lines: list[str] = []

    async def run(self, command: Command[T]) -> T:
        """See `Shell.run`."""
        self.lines.append(line_of(command))
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            line_of(command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.home,
            env={
                "HOME": str(self.home),
                "PATH": f"{self.home}/bin:{os.environ['PATH']}",
                "FROM_LOGIN": "yes",
            },
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(_COMMAND_SECONDS):
                stdout, stderr = await process.communicate(command.stdin.encode())
        except BaseException:
            _kill_group(process.pid)
            await process.communicate()  # its pipes are closed before the event loop is
            raise
        _kill_group(process.pid)
        status = process.returncode or 0
        output = Output(max(status, -1), stdout.decode(errors="replace"), stderr.decode())
        return command.result(output)


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)

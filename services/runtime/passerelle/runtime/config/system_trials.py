"""What is tried on a system, logged in: its clock, its sessions, its programs."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack

from passerelle.runtime.command import Output, Request
from passerelle.runtime.config.trials import Doubt, Failed, LoggedIn, Trial
from passerelle.runtime.errors import Overloaded

_LONG_LIVED = 2  # sessions beside commands: SFTP, and the remote helper
_MOST_SKEW = 10.0  # seconds
_MOST_TRIED = 64  # sessions; who configures more has to know
_FIND = 'for name; do command -v "$name" >/dev/null || echo "$name"; done'


def of_every_system(on: LoggedIn) -> Iterator[Trial]:
    """What every system has to have, whatever its scheduler."""

    async def clock() -> str:
        asked = time.time()
        told = float(await said(on, ("date", "+%s")))
        ahead = told - (asked + time.time()) / 2
        if abs(ahead) > _MOST_SKEW:
            side = "ahead of" if ahead > 0 else "behind"
            raise Failed(f"it is {abs(ahead):.0f} s {side} ours")
        return f"within {max(1, abs(ahead)):.0f} s of ours"

    async def sessions() -> str:
        wanted = min(on.system.ssh.max_channels + _LONG_LIVED, _MOST_TRIED)
        opened = await _sessions(on, wanted)
        if opened < wanted:
            fitting = max(1, opened - _LONG_LIVED)
            raise Failed(
                f"it opens {opened} on a connection, and {wanted} may be needed: set max_channels: {fitting}, or "
                f"MaxSessions {wanted} in its sshd_config"
            )
        return f"{opened} on a connection"

    yield Trial("clock", clock, "NTP there and here: certificates are valid for minutes")
    yield Trial("sessions", sessions, "ssh.max_channels", needs_commands=False)


def programs(on: LoggedIn, names: Sequence[str], version: Sequence[str]) -> Trial:
    """Whether the programs are found; `version` is the command line that tells theirs."""

    async def run() -> str:
        missing = (await said(on, ("sh", "-c", _FIND, "sh", *names))).split()
        if missing:
            are = "is" if len(missing) == 1 else "are"
            raise Failed(
                f"{', '.join(missing)} {are} not found in the PATH of a non-interactive login"
            )
        return (await said(on, version)).strip()

    return Trial(
        "programs", run, "the PATH that sshd gives to commands (its SetEnv, /etc/environment)"
    )


def python(on: LoggedIn, name: str, without: str) -> Trial:
    """Whether there is a Python 3.6 or newer; `without` says what becomes of it when there is none."""

    async def run() -> str:
        show = "import sys; print('.'.join(map(str, sys.version_info[:3])))"
        output = await ran(on, (name, "-c", show))
        version = output.stdout.strip()
        if output.status or tuple(map(int, version.split("."))) < (3, 6):
            raise Doubt(f"{version or 'none'}, so that {without}; install Python 3.6 or newer")
        return version

    return Trial(name, run)


async def ran(on: LoggedIn, argv: Sequence[str]) -> Output:
    """A command's output, whatever its exit status."""
    return await on.connection.run(Request(argv), "", on.system.ssh.timeout.command)


async def said(on: LoggedIn, argv: Sequence[str]) -> str:
    """What a command prints; Failed with its own words when it fails."""
    output = await ran(on, argv)
    if output.status:
        raise Failed(f"{argv[0]}: {output.stderr.strip() or f'exit status {output.status}'}")
    return output.stdout


async def _sessions(on: LoggedIn, wanted: int) -> int:
    """How many sessions the connection opens at once, of those that are wanted."""
    async with AsyncExitStack() as stack:
        for number in range(wanted):
            try:
                process = await on.connection.start()
            except Overloaded:
                return number
            stack.callback(process.close)
    return wanted

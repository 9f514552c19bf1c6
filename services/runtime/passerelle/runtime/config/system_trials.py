"""Trials on a system after the login: its clock, its sessions, its programs."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack

from passerelle.runtime.command import Output, Request
from passerelle.runtime.config.trials import Caveat, Failed, SystemLogin, Trial
from passerelle.runtime.errors import Overloaded

_LONG_LIVED = 2  # sessions beside commands: SFTP, and the remote helper
_MAX_SKEW = 10.0  # seconds
_MAX_TRIED = 64  # sessions; a site that configures more is on its own
_FIND = 'for name; do command -v "$name" >/dev/null || echo "$name"; done'


def common_trials(login: SystemLogin) -> Iterator[Trial]:
    """The trials of every system, whatever its scheduler."""

    async def clock() -> str:
        before = time.time()
        system_time = float(await output_of(login, ("date", "+%s")))
        ahead = system_time - (before + time.time()) / 2
        if abs(ahead) > _MAX_SKEW:
            side = "ahead of" if ahead > 0 else "behind"
            raise Failed(f"it is {abs(ahead):.0f} s {side} ours")
        return f"within {max(1, abs(ahead)):.0f} s of ours"

    async def sessions() -> str:
        wanted = min(login.system.ssh.max_channels + _LONG_LIVED, _MAX_TRIED)
        opened = await _sessions(login, wanted)
        if opened < wanted:
            fitting = max(1, opened - _LONG_LIVED)
            raise Failed(
                f"it opens {opened} on a connection, and {wanted} may be needed: set max_channels: {fitting}, or "
                f"MaxSessions {wanted} in its sshd_config"
            )
        return f"{opened} on a connection"

    yield Trial("clock", clock, "NTP there and here: certificates are valid for minutes")
    yield Trial("sessions", sessions, "ssh.max_channels", needs_commands=False)


def programs(login: SystemLogin, names: Sequence[str], version: Sequence[str]) -> Trial:
    """The trial that finds the programs; `version` is the command that prints their version."""

    async def run() -> str:
        missing = (await output_of(login, ("sh", "-c", _FIND, "sh", *names))).split()
        if missing:
            are = "is" if len(missing) == 1 else "are"
            raise Failed(
                f"{', '.join(missing)} {are} not found in the PATH of a non-interactive login"
            )
        return (await output_of(login, version)).strip()

    return Trial(
        "programs", run, "the PATH that sshd gives to commands (its SetEnv, /etc/environment)"
    )


def python(login: SystemLogin, name: str, without: str) -> Trial:
    """The trial that finds a Python 3.6 or newer; `without` says what happens when there is none."""

    async def run() -> str:
        show = "import sys; print('.'.join(map(str, sys.version_info[:3])))"
        output = await run_command(login, (name, "-c", show))
        version = output.stdout.strip()
        if output.status or tuple(map(int, version.split("."))) < (3, 6):
            raise Caveat(f"{version or 'none'}, so that {without}; install Python 3.6 or newer")
        return version

    return Trial(name, run)


async def run_command(login: SystemLogin, argv: Sequence[str]) -> Output:
    """A command's output, whatever its exit status."""
    return await login.connection.run(Request(argv), "", login.system.ssh.timeout.command)


async def output_of(login: SystemLogin, argv: Sequence[str]) -> str:
    """What a command prints; raises Failed with its message when it fails."""
    output = await run_command(login, argv)
    if output.status:
        raise Failed(f"{argv[0]}: {output.stderr.strip() or f'exit status {output.status}'}")
    return output.stdout


async def _sessions(login: SystemLogin, wanted: int) -> int:
    """How many sessions the connection opens at once, up to `wanted`."""
    async with AsyncExitStack() as stack:
        for number in range(wanted):
            try:
                process = await login.connection.start()
            except Overloaded:
                return number
            stack.callback(process.close)
    return wanted

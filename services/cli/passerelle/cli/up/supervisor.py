"""Child processes kept alive: started together, started again when they end, stopped in order and within bounds."""

import asyncio
import getpass
import os
import signal
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from passerelle.cli.up import pipes as up_pipes
from passerelle.cli.up import report as up_report
from passerelle.cli.up.logs import LogFile

EXIT_CONFIG = os.EX_CONFIG
"""The exit status by which a child says that its configuration is wrong, so that starting it again is no use."""

_SOUND_SECONDS = 10.0  # a child that lived this long was well, and is started again at once
_FIRST_PAUSE = 0.2  # seconds; doubled for every short life in a row
_LONGEST_PAUSE = 30.0
_FALSE_STARTS = 3  # short lives in a row, before everything ran once, after which it will never run


@dataclass(frozen=True)
class Child:
    """One process to keep alive.

    Its `addresses` (host:port) are what it listens on. Those of a lower `stop_order` are stopped first; each gets
    `grace` seconds between SIGTERM and SIGKILL. It inherits `descriptors`, and a pipe to report by (`up_report`). When
    it ends unasked, `on_death` is called.
    """

    name: str
    argv: tuple[str, ...]
    addresses: tuple[str, ...]
    stop_order: int = 0
    grace: float = 5.0
    descriptors: tuple[int, ...] = ()
    on_death: Callable[[], None] = lambda: None


class CannotRun(Exception):
    """A child will not run, however often it is started; `child` is which, and the text says why."""

    def __init__(self, child: Child, reason: str) -> None:
        super().__init__(f"{child.name} cannot run: {reason}")
        self.child = child


class BadConfiguration(CannotRun):
    """A child says that its configuration is wrong; `reported` is what it says of it, or empty."""

    def __init__(self, child: Child, reported: str) -> None:
        super().__init__(child, "its configuration is wrong")
        self.reported = reported


class Supervisor:
    """Keeps `children` alive.

    `environment` is added to our own for them; their output is appended to `log_of(child)`, or goes to our stderr when
    that is None; what happens to them is told to `tell`.
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        environment: Mapping[str, str],
        log_of: Callable[[Child], LogFile | None],
        tell: Callable[[str], None],
    ) -> None:
        self.settled = False
        """Set when everything has worked once: from then on, a dying child is always started again."""
        self._ready = {child: asyncio.Event() for child in children}
        self._children = children
        self._environment = {**os.environ, **environment}
        self._log_of = log_of
        self._tell = tell
        self._running: dict[Child, asyncio.subprocess.Process] = {}
        self._pipes: dict[Child, list[up_pipes.Pipe]] = {}

    async def run(self, until: Coroutine[Any, Any, object]) -> None:
        """Keep the children alive until `until` ends, then stop them all.

        Raises CannotRun when a child will not run, and whatever `until` raises. Must be called in the main thread:
        children die with the thread that started them.
        """
        end = asyncio.create_task(until)
        keepers = [asyncio.create_task(self._keep(child)) for child in self._children]
        try:
            done, _ = await asyncio.wait([end, *keepers], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (end, *keepers):
                task.cancel()
            await asyncio.gather(end, *keepers, return_exceptions=True)
            await self._stop()
            await up_pipes.read_to_the_end([p for pipes in self._pipes.values() for p in pipes])

    async def ready(self, child: Child) -> None:
        """Return when a process of `child` has reported that it is ready."""
        await self._ready[child].wait()

    def process_ids(self) -> dict[str, int]:
        """The process ids of the children that run now, by name."""
        return {child.name: process.pid for child, process in self._running.items()}

    def kill(self) -> None:
        """End every child at once, without grace."""
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.kill()

    async def _keep(self, child: Child) -> None:
        short_lives = 0
        while True:
            started = time.monotonic()
            status, reported = await self._live(child)
            child.on_death()
            short = time.monotonic() - started < _SOUND_SECONDS
            short_lives = short_lives + 1 if short else 0
            self._demand_hope(child, status, reported, short_lives)
            pause = min(_FIRST_PAUSE * 2 ** (short_lives - 2), _LONGEST_PAUSE)
            if short_lives < 2:
                pause = 0.0
            why = reported or _ending(status)
            self._tell(f"{child.name} ended ({why}); starting it again{_in(pause)}")
            await asyncio.sleep(pause)

    async def _live(self, child: Child) -> tuple[int, str]:
        """One life of a child; returns its exit status, negative for a signal, and what it reported to be wrong."""
        log, said = self._log_of(child), bytearray()

        def hear(data: bytes) -> None:
            said.extend(data)
            if said == up_report.READY.encode():
                self._ready[child].set()

        pipes = [await up_pipes.opened(take) for take in (hear, *([log.write] if log else []))]
        self._pipes[child] = pipes
        process = await self._started(child, pipes[0].writing, pipes[-1].writing if log else 2)
        self._running[child] = process
        status = await process.wait()
        del self._running[child]
        await up_pipes.read_to_the_end(self._pipes.pop(child))
        text = said.decode(errors="replace")
        return status, "" if text == up_report.READY else text

    async def _started(self, child: Child, report: int, output: int) -> asyncio.subprocess.Process:
        """A new process of `child`, with descriptors to report by and to write to, which are closed here."""
        try:
            return await asyncio.create_subprocess_exec(
                *child.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**self._environment, up_report.VARIABLE: str(report)},
                pass_fds=(*child.descriptors, report),
                start_new_session=True,  # Ctrl-C is for us alone: we stop the children in order
            )
        except OSError as error:
            raise CannotRun(child, _not_started(child.argv[0], error)) from None
        finally:
            for descriptor in {report, output} - {2}:
                os.close(descriptor)

    def _demand_hope(self, child: Child, status: int, reported: str, short_lives: int) -> None:
        if self.settled:
            return
        if status == EXIT_CONFIG:
            raise BadConfiguration(child, reported)
        if short_lives >= _FALSE_STARTS:
            raise CannotRun(child, f"it ended {short_lives} times in a row ({_ending(status)})")

    async def _stop(self) -> None:
        order = sorted(self._running, key=lambda child: child.stop_order)
        for _, children in groupby(order, key=lambda child: child.stop_order):
            await asyncio.gather(*(self._end(child) for child in children))

    async def _end(self, child: Child) -> None:
        process = self._running[child]
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(child.grace):
                await process.wait()
        except TimeoutError:
            self._tell(f"{child.name} does not end within {child.grace:g} s; killing it")
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        del self._running[child]


def _not_started(program: str, error: OSError) -> str:
    """Why `program` could not be started; a link into a directory that we may not enter is the usual reason."""
    target = os.path.realpath(program)
    if not isinstance(error, PermissionError) or target == program:
        return f"{program}: {error.strerror}"
    return (
        f"{program} leads to {target}, which {getpass.getuser()} cannot reach; "
        "install with a Python outside home directories"
    )


def _ending(status: int) -> str:
    if status < 0:
        return f"signal {-status}, {signal.strsignal(-status)}"
    return f"exit status {status}"


def _in(pause: float) -> str:
    return f" in {pause:.1f} s" if pause else ""

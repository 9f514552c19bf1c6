"""Keeps child processes running: starts them together, restarts those that end, stops them in order and in time."""

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

from passerelle.cli.up import startup_report
from passerelle.cli.up.child_pipes import Pipe, open_pipe, read_to_the_end
from passerelle.cli.up.logs import LogFile

EXIT_CONFIG = os.EX_CONFIG
"""The exit status of a child whose configuration is wrong; it is not started again."""

_SOUND_SECONDS = 10.0  # a child that ran this long has worked, and is restarted at once
_FIRST_PAUSE = 0.2  # seconds; doubled for every short run in a row
_LONGEST_PAUSE = 30.0
_FALSE_STARTS = 3  # short runs in a row, before everything has worked once, after which we give up


@dataclass(frozen=True)
class Child:
    """One process to keep running.

    It listens on `addresses` (host:port). Children with a lower `stop_order` are stopped first; each has `grace`
    seconds between SIGTERM and SIGKILL. It inherits `descriptors`, and a pipe for its `startup_report`. `on_death` is
    called when it ends without being stopped.
    """

    name: str
    argv: tuple[str, ...]
    addresses: tuple[str, ...]
    stop_order: int = 0
    grace: float = 5.0
    descriptors: tuple[int, ...] = ()
    on_death: Callable[[], None] = lambda: None


class CannotRun(Exception):
    """`child` cannot be kept running; the text says why."""

    def __init__(self, child: Child, reason: str) -> None:
        super().__init__(f"{child.name} cannot run: {reason}")
        self.child = child


class BadConfiguration(CannotRun):
    """The configuration of `child` is wrong; `reported` is its own message about that, or empty."""

    def __init__(self, child: Child, reported: str) -> None:
        super().__init__(child, "its configuration is wrong")
        self.reported = reported


class Supervisor:
    """Keeps `children` running.

    They get our own environment with `environment` added. Their output is appended to `log_of(child)`, or goes to our
    stderr when that is None. `report` is called with a sentence whenever one ends or has to be killed.
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        environment: Mapping[str, str],
        log_of: Callable[[Child], LogFile | None],
        report: Callable[[str], None],
    ) -> None:
        self.settled = False
        """Set when all children have worked once. From then on, a child that ends is always started again."""
        self._ready = {child: asyncio.Event() for child in children}
        self._children = children
        self._environment = {**os.environ, **environment}
        self._log_of = log_of
        self._report = report
        self._running: dict[Child, asyncio.subprocess.Process] = {}
        self._pipes: dict[Child, list[Pipe]] = {}

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
            await read_to_the_end([p for pipes in self._pipes.values() for p in pipes])

    async def ready(self, child: Child) -> None:
        """Return when a process of `child` has reported that it is ready."""
        await self._ready[child].wait()

    def process_ids(self) -> dict[str, int]:
        """The process ids of the children that run now, by name."""
        return {child.name: process.pid for child, process in self._running.items()}

    def kill(self) -> None:
        """Kill every child at once."""
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.kill()

    async def _keep(self, child: Child) -> None:
        short_runs = 0
        while True:
            started = time.monotonic()
            status, reported = await self._run_once(child)
            child.on_death()
            short = time.monotonic() - started < _SOUND_SECONDS
            short_runs = short_runs + 1 if short else 0
            self._require_progress(child, status, reported, short_runs)
            pause = min(_FIRST_PAUSE * 2 ** (short_runs - 2), _LONGEST_PAUSE)
            if short_runs < 2:
                pause = 0.0
            why = reported or _ending(status)
            self._report(f"{child.name} ended ({why}); starting it again{_in(pause)}")
            await asyncio.sleep(pause)

    async def _run_once(self, child: Child) -> tuple[int, str]:
        """Run a child until it ends; returns its exit status, negative for a signal, and the fault that it reported."""
        log, reported = self._log_of(child), bytearray()

        def receive(data: bytes) -> None:
            reported.extend(data)
            if reported == startup_report.READY.encode():
                self._ready[child].set()

        pipes = [await open_pipe(write) for write in (receive, *([log.write] if log else []))]
        self._pipes[child] = pipes
        process = await self._started(child, pipes[0].writing, pipes[-1].writing if log else 2)
        self._running[child] = process
        status = await process.wait()
        del self._running[child]
        await read_to_the_end(self._pipes.pop(child))
        text = reported.decode(errors="replace")
        return status, "" if text == startup_report.READY else text

    async def _started(self, child: Child, report: int, output: int) -> asyncio.subprocess.Process:
        """A new process of `child` with descriptors for its report and its output, which are closed here."""
        try:
            return await asyncio.create_subprocess_exec(
                *child.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**self._environment, startup_report.VARIABLE: str(report)},
                pass_fds=(*child.descriptors, report),
                start_new_session=True,  # Ctrl-C must reach us alone: we stop the children in order
            )
        except OSError as error:
            raise CannotRun(child, _not_started(child.argv[0], error)) from None
        finally:
            for descriptor in {report, output} - {2}:
                os.close(descriptor)

    def _require_progress(self, child: Child, status: int, reported: str, short_runs: int) -> None:
        if self.settled:
            return
        if status == EXIT_CONFIG:
            raise BadConfiguration(child, reported)
        if short_runs >= _FALSE_STARTS:
            raise CannotRun(child, f"it ended {short_runs} times in a row ({_ending(status)})")

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
            self._report(f"{child.name} does not end within {child.grace:g} s; killing it")
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        del self._running[child]


def _not_started(program: str, error: OSError) -> str:
    """Why `program` could not be started; usually it is a link into a directory that this account may not enter."""
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

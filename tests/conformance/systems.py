"""For each scheduler plugin a system to put it through its paces on: real where that is possible, else recorded.

A new plugin needs one function here, under its registered name.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from passerelle.compute.scheduler import JobDescription, JobFilter, Scheduler
from passerelle.runtime.config.plugins import make
from passerelle.runtime.config.site import Scheduler as SchedulerChoice
from tests.conformance.recordings import ReplayShell, recordings
from tests.unit.compute.local_shell import LocalShell

RECORDED = Path(__file__).parent / "recorded"
_PATIENCE = 20.0  # seconds


@dataclass(frozen=True)
class Prepared:
    """A scheduler with jobs in known states."""

    scheduler: Scheduler
    user: str
    """Whose jobs they are."""
    jobs: Mapping[str, str]
    """Ids: `succeeded`, `failed` (exit code 3), `running`, `cancelled`, `timeout`, each with its kind as its name."""
    script: str
    """That of `succeeded`."""
    lines: list[str]
    """The command lines that were run."""


@asynccontextmanager
async def slurm(directory: Path) -> AsyncIterator[Prepared]:
    """Slurm 22.05, recorded."""
    recorded = RECORDED / "slurm-22.05"
    found = [recordings(file) for file in sorted(recorded.glob("*.txt"))]
    shell = ReplayShell(chain.from_iterable(found))
    jobs = json.loads((recorded / "jobs.json").read_text())
    scheduler: Scheduler = make("slurm", SchedulerChoice(type="slurm"), shell)
    yield Prepared(scheduler, "alice", jobs, "#!/bin/bash\necho hello\n", shell.lines)


@asynccontextmanager
async def local(directory: Path) -> AsyncIterator[Prepared]:
    """The local scheduler, with real processes on this machine."""
    shell = LocalShell(directory)
    chosen = SchedulerChoice(type="local", options={"python": sys.executable, "kill_wait": 0.2})
    scheduler: Scheduler = make("local", chosen, shell)
    sleep = "#!/bin/sh\nsleep 600\n"
    scripts = {
        "succeeded": "#!/bin/sh\necho hello\n",
        "failed": "#!/bin/sh\nexit 3\n",
        "running": sleep,
        "cancelled": sleep,
        "timeout": sleep,
    }
    jobs = {
        kind: await scheduler.submit(
            JobDescription(
                str(directory),
                name=kind,
                script=script,
                time_limit=1 if kind == "timeout" else None,
            )
        )
        for kind, script in scripts.items()
    }
    await scheduler.cancel(jobs["cancelled"])
    user = (await scheduler.user_info()).user.name
    try:
        async with asyncio.timeout(_PATIENCE):
            for kind in scripts.keys() - {"running"}:
                while not (await scheduler.job(jobs[kind]))[0].status.state.ended:
                    await asyncio.sleep(0.05)
        yield Prepared(scheduler, user, jobs, scripts["succeeded"], shell.lines)
    finally:
        for job in await scheduler.jobs(JobFilter()):
            await scheduler.cancel(job.id)


SYSTEMS: Mapping[str, Callable[[Path], AbstractAsyncContextManager[Prepared]]] = {
    "local": local,
    "slurm": slurm,
}

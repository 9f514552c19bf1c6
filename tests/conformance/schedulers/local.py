"""The local scheduler, with real processes on this machine."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from passerelle.compute.scheduler import JobDescription, JobFilter, Scheduler
from passerelle.compute.schedulers.conformance import LoggingShell, Prepared
from passerelle.runtime.config.plugins import make
from passerelle.runtime.config.site import Scheduler as SchedulerChoice

_PATIENCE = 20.0  # seconds


@asynccontextmanager
async def prepared(shell: LoggingShell, directory: Path) -> AsyncIterator[Prepared]:
    """Jobs that run in `directory`."""
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
        yield Prepared(scheduler, user, jobs, shell.lines, scripts["succeeded"])
    finally:
        for job in await scheduler.jobs(JobFilter()):
            await scheduler.cancel(job.id)

"""Slurm 22.05, recorded."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain
from pathlib import Path

from passerelle.compute.scheduler import Scheduler
from passerelle.compute.schedulers.conformance import LoggingShell, Prepared
from passerelle.runtime.config.plugins import make
from passerelle.runtime.config.site import Scheduler as SchedulerChoice
from tests.conformance.recordings import RECORDED, ReplayShell, recordings


@asynccontextmanager
async def prepared(shell: LoggingShell, directory: Path) -> AsyncIterator[Prepared]:
    """Jobs that were recorded; `shell` and `directory` are not used."""
    recorded = RECORDED / "slurm-22.05"
    recordings_of_files = [recordings(file) for file in sorted(recorded.glob("*.txt"))]
    replay = ReplayShell(chain.from_iterable(recordings_of_files))
    jobs = json.loads((recorded / "jobs.json").read_text())
    scheduler: Scheduler = make("slurm", SchedulerChoice(type="slurm"), replay)
    yield Prepared(scheduler, "alice", jobs, replay.lines, "#!/bin/bash\necho hello\n")

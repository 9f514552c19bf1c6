"""Jobs in known states for Passerelle's conformance suite, on LSF's programs as they are documented."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from passerelle.compute.scheduler import JobDescription, JobFilter
from passerelle.compute.schedulers.conformance import LoggingShell, Prepared
from passerelle_lsf import documented_lsf
from passerelle_lsf.scheduler import Lsf

_SCRIPTS = {
    "succeeded": "#!/bin/sh\necho hello\n",
    "failed": "#!/bin/sh\nexit 3\n",
    "running": "#!/bin/sh\nexec sleep 600\n",
    "cancelled": "#!/bin/sh\nexec sleep 600\n",
    "timeout": "#!/bin/sh\nexec sleep 600\n",
}
_PATIENCE = 20.0  # seconds


@asynccontextmanager
async def prepared(shell: LoggingShell, directory: Path) -> AsyncIterator[Prepared]:
    """See `passerelle.compute.schedulers.conformance`."""
    install(directory)
    scheduler = Lsf(shell, Lsf.Options())
    jobs = {kind: await scheduler.submit(_job(kind, directory)) for kind in _SCRIPTS}
    await scheduler.cancel(jobs["cancelled"])
    user = (await scheduler.user_info()).user.name
    try:
        async with asyncio.timeout(_PATIENCE):
            for kind in _SCRIPTS.keys() - {"running"}:
                while not (await scheduler.job(jobs[kind]))[0].status.state.ended:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        lacks = frozenset({"metadata", "attach", "reservations"})
        yield Prepared(scheduler, user, jobs, shell.lines, script=None, lacks=lacks)
    finally:
        for job in await scheduler.jobs(JobFilter()):
            await scheduler.cancel(job.id)


def install(directory: Path) -> None:
    """LSF's programs in `directory/bin`."""
    programs, jobs = directory / "bin", directory / "lsf"
    programs.mkdir()
    jobs.mkdir()
    for name in documented_lsf.PROGRAMS:
        line = f'exec "{sys.executable}" -I -S "{documented_lsf.__file__}" "{jobs}" {name} "$@"'
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)


def _job(kind: str, directory: Path) -> JobDescription:
    limit = 60 if kind == "timeout" else None
    return JobDescription(str(directory), name=kind, script=_SCRIPTS[kind], time_limit=limit)

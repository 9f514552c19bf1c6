"""Transfer jobs that run on this machine while their submitter goes on, as a scheduler's do."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from passerelle.storage.jobs.port import AgentWork, BatchJob, ShellWork
from passerelle.storage.jobs.private_files import content


class PrivateDirectory:
    """The parameters' files, in a directory of this machine."""

    async def put(self, directory: str, transfer: str, work: ShellWork | AgentWork) -> str:
        """Write it for the user only."""
        path = Path(directory, f".transfer-{transfer}")
        path.touch(mode=0o600)
        path.write_bytes(content(work, "lab"))
        return str(path)

    async def record(self, path: str, job_id: str) -> None:
        """Not used by these tests."""

    async def discard(self, path: str) -> None:
        """Remove it."""
        Path(path).unlink(missing_ok=True)


class BackgroundJobs:
    """A compute service that runs submitted jobs with bash; they are numbered from 1."""

    def __init__(self) -> None:
        self.submitted: list[BatchJob] = []
        self.before: Callable[[], object] = lambda: None
        """Done when a job has been submitted, before it starts."""
        self._running: list[asyncio.subprocess.Process] = []

    async def default_account(self, system: str) -> str | None:
        """The caller has none."""
        return None

    async def submit(self, system: str, job: BatchJob) -> str:
        """Start the script; returns the number of the job."""
        self.submitted.append(job)
        self.before()
        script = Path(job.working_directory, f"script-{len(self.submitted)}")
        script.write_text(job.script)
        with open(job.standard_output, "wb") as output, open(job.standard_error, "wb") as error:  # noqa: ASYNC230
            process = await asyncio.create_subprocess_exec(
                "bash",
                str(script),
                cwd=job.working_directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=error,
                start_new_session=True,
            )
        self._running.append(process)
        return str(len(self.submitted))

    async def cancel(self, system: str, job_id: str) -> None:
        """End a job as a scheduler does."""
        os.killpg(self._running[int(job_id) - 1].pid, signal.SIGTERM)

    def interrupt(self) -> None:
        """End the last job as a scheduler does."""
        os.killpg(self._running[-1].pid, signal.SIGTERM)

    async def ended(self) -> tuple[int, str, str]:
        """The exit status of the last job, once it has ended, and its logs."""
        job = self.submitted[-1]
        async with asyncio.timeout(30):
            status = await self._running[-1].wait()
        logs = (Path(path).read_text() for path in (job.standard_output, job.standard_error))
        return (status, *logs)  # type: ignore[return-value]  # two of them

    async def wait_for_log(self, words: str) -> str:
        """The last job's log, once these words are in it."""
        log = Path(self.submitted[-1].standard_output)
        async with asyncio.timeout(30):
            while words not in log.read_text():
                await asyncio.sleep(0.02)
        return log.read_text()

    async def stop(self) -> None:
        """End all jobs."""
        for process in self._running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

"""A compute service whose jobs are run by bash on this machine, to their end, before their submission returns."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from passerelle.runtime.errors import ApiError
from passerelle.storage.jobs.port import BatchJob


@dataclass
class BashJobs:
    """Runs what is submitted, and keeps it."""

    submitted: list[BatchJob] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    """The exit status of each job."""
    refusal: ApiError | None = None
    """Raised instead, when set."""
    account: str | None = None
    """The caller's default account."""

    async def default_account(self, system: str) -> str | None:
        """The one that the test set."""
        return self.account

    cancelled: list[str] = field(default_factory=list)
    """The ids of jobs that somebody wanted to end."""

    async def ends(self, system: str) -> Mapping[str, bool | None]:
        """Every job has ended."""
        return {str(number): status == 0 for number, status in enumerate(self.statuses, 1)}

    async def cancel(self, system: str, job_id: str) -> None:
        """Keep that it was asked for."""
        self.cancelled.append(job_id)

    async def submit(self, system: str, job: BatchJob) -> str:
        """Run the script; returns the number of the job."""
        self.submitted.append(job)
        if self.refusal:
            raise self.refusal
        # As a scheduler does: the script is copied, and run as a file.
        script = os.memfd_create("script")
        os.write(script, job.script.encode())
        with open(job.standard_output, "wb") as output, open(job.standard_error, "wb") as error:  # noqa: ASYNC230
            process = await asyncio.create_subprocess_exec(
                "bash",
                f"/proc/self/fd/{script}",
                cwd=job.working_directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=error,
                pass_fds=[script],
            )
            self.statuses.append(await process.wait())
        os.close(script)
        return str(len(self.submitted))

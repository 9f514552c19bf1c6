"""Transfer jobs as processes of this machine, and a client's side of staging with S3."""

import asyncio
import os
import random
import re
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

import httpx

from passerelle.runtime.errors import ApiError
from passerelle.storage.jobs.port import BatchJob
from passerelle.storage.staging.port import Staged, StagingRequest
from passerelle.storage.staging.s3.wire import PartUrls, S3Request

END_SECONDS = 120
_MOST = re.compile(r"VmHWM:\s+(\d+) kB")


@dataclass
class Processes:
    """A compute service that starts each job at once, and lets it run."""

    python: str
    """The Python that the jobs find."""
    bin: Path
    """A directory for it."""
    refusal: ApiError | None = None
    """Raised instead of starting anything, when set."""
    delay: float = 0
    """Seconds that a job waits before it starts."""
    environment: dict[str, str] = field(default_factory=dict)
    """More variables of the jobs."""
    submitted: list[BatchJob] = field(default_factory=list)
    running: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def default_account(self, system: str) -> str | None:
        """The caller has none."""
        return None

    async def submit(self, system: str, job: BatchJob) -> str:
        """Start the script; returns its process id."""
        if self.refusal:
            raise self.refusal
        self.bin.mkdir(exist_ok=True)
        if not (self.bin / "python3").exists():
            (self.bin / "python3").symlink_to(self.python)
        self.submitted.append(job)
        (self.bin / f"job-{len(self.submitted)}").write_text(job.script)
        return await self.again()

    async def ends(self, system: str) -> Mapping[str, bool | None]:
        """The jobs' outcomes."""
        return {
            str(process.pid): None if process.returncode is None else process.returncode == 0
            for process in self.running
        }

    async def again(self) -> str:
        """Start the last job, as a scheduler does again when it has lost a node; returns its process id."""
        job, script = self.submitted[-1], self.bin / f"job-{len(self.submitted)}"
        with open(job.standard_output, "wb") as output, open(job.standard_error, "wb") as error:  # noqa: ASYNC230
            process = await asyncio.create_subprocess_exec(
                "bash",
                "-c",
                'sleep "$1"; exec bash "$0"',
                str(script),
                str(self.delay),
                cwd=job.working_directory,
                env={"PATH": f"{self.bin}:{os.environ['PATH']}", "LC_ALL": "POSIX"}
                | self.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=error,
            )
        self.running.append(process)
        return str(process.pid)

    async def ended(self) -> int:
        """The exit status of the last job."""
        return await asyncio.wait_for(self.running[-1].wait(), END_SECONDS)

    async def wait_for_log(self, words: str) -> None:
        """Wait until the last job's log has these words."""
        log = Path(self.submitted[-1].standard_output)
        async with asyncio.timeout(END_SECONDS):
            while words not in log.read_text():
                assert self.running[-1].returncode is None, self.words()
                await asyncio.sleep(0.01)

    async def peak(self) -> int:
        """The most memory that the last job had, bytes; waits for its end."""
        status, most = Path(f"/proc/{self.running[-1].pid}/status"), 0
        async with asyncio.timeout(END_SECONDS):
            while self.running[-1].returncode is None:
                with suppress(OSError):  # it has just ended
                    if match := _MOST.search(status.read_text()):
                        most = int(match.group(1)) << 10
                await asyncio.sleep(0.01)
        assert most
        assert self.running[-1].returncode == 0, self.words()
        return most

    def words(self) -> str:
        """All output of the last job."""
        job = self.submitted[-1]
        return Path(job.standard_output).read_text() + Path(job.standard_error).read_text()

    async def cancel(self, system: str, job_id: str) -> None:
        """End a job as a scheduler does."""
        [process] = [process for process in self.running if str(process.pid) == job_id]
        process.send_signal(signal.SIGTERM)

    def interrupt(self) -> None:
        """End the last job as a scheduler does."""
        self.running[-1].send_signal(signal.SIGTERM)

    async def kill(self) -> None:
        """End the last job so that it can do nothing more."""
        self.running[-1].kill()
        await self.running[-1].wait()

    async def close(self) -> None:
        """End all running jobs."""
        for process in self.running:
            if process.returncode is None:
                process.kill()
                await process.wait()


def by_s3(path: str, size: int | None = None) -> StagingRequest[S3Request]:
    """A request for a file of `size` bytes to come by the method `s3`, or for a file to leave."""
    return StagingRequest(path, S3Request(transfer_method="s3", file_size=size))


async def put_parts(staged: Staged, content: bytes) -> list[str]:
    """Send the parts as a client does; their ETags."""
    urls = parts_of(staged)
    tags = []
    async with httpx.AsyncClient(timeout=60) as client:
        for number, url in enumerate(urls.parts_upload_urls):
            part = content[number * urls.max_part_size : (number + 1) * urls.max_part_size]
            reply = (await client.put(url, content=part)).raise_for_status()
            tags.append(reply.headers["ETag"])
    return tags


async def complete(staged: Staged, tags: list[str]) -> None:
    """Put the parts together as a client does."""
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(tag)}</ETag></Part>"
        for number, tag in enumerate(tags, 1)
    )
    body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"
    async with httpx.AsyncClient(timeout=60) as client:
        (await client.post(parts_of(staged).complete_upload_url, content=body)).raise_for_status()


def parts_of(staged: Staged) -> PartUrls:
    """The client's part of an upload."""
    assert isinstance(staged.instructions, PartUrls)
    return staged.instructions


def content_of(size: int) -> bytes:
    """Bytes that look like nothing else, fast."""
    return random.Random(size).randbytes(size)  # noqa: S311

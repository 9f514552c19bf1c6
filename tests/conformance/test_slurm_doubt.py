"""A submit whose answer is lost on the way from slurmctld: the id all the same, if there is a job. On a real Slurm."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from passerelle.compute.scheduler import JobDescription, JobFilter
from passerelle.compute.schedulers.slurm import Slurm
from passerelle.runtime import caller
from passerelle.runtime.command import Command, Shell, T
from passerelle.runtime.errors import BackendUnavailable
from tests.cluster import Cluster
from tests.cluster_shell import cluster_shell

TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
TAKEN = '/usr/bin/sbatch "$@" >&3\n'
FULL = "sbatch: error: Slurm job queue full, sleeping and retrying"


class Behind:
    """A shell in whose login `directory` stands first in PATH."""

    def __init__(self, shell: Shell, directory: Path) -> None:
        self._shell = shell
        self._directory = directory

    async def run(self, command: Command[T]) -> T:
        """See `Shell.run`."""
        path = f"PATH={self._directory}:/usr/local/bin:/usr/bin:/bin"
        return await self._shell.run(replace(command, argv=("env", path, *command.argv)))


@pytest.fixture
def directory(cluster: Cluster, tmp_path: Path) -> Iterator[Path]:
    found = Path("/tmp") / f"doubt-{os.getpid()}-{tmp_path.name}"
    found.mkdir()
    shutil.chown(found, "alice", "alice")
    yield found
    shutil.rmtree(found)


@pytest.fixture
async def slurm(cluster: Cluster, directory: Path) -> AsyncIterator[Slurm]:
    with caller.bind(caller.Caller("alice", "")):
        async with cluster_shell(cluster) as shell:
            yield Slurm(Behind(shell, directory), Slurm.Options())


def stand_in(directory: Path, text: str) -> None:
    """A program in place of sbatch; `/usr/bin/sbatch` is the real one, and its output goes into a file."""
    program = directory / "sbatch"
    program.write_text(f"#!/bin/bash\nexec 3>>{directory}/said\n{text}")
    program.chmod(0o755)


@pytest.mark.parametrize("end", [f"echo '{TIMED_OUT}' >&2; exit 1", "exec sleep 60"])
@pytest.mark.parametrize(
    "more", ["", "#SBATCH --array=0-3\n", "#SBATCH -n1\n#SBATCH hetjob\n#SBATCH -n1\n"]
)
async def test_a_job_that_was_taken_is_answered_with_its_id(
    slurm: Slurm, directory: Path, end: str, more: str
) -> None:
    stand_in(directory, TAKEN + end)
    script = f"#!/bin/bash\n#SBATCH --begin=now+1hour\n{more}true\n"
    job = JobDescription(str(directory), script=script, environment={"A": "b"})
    job_id = await slurm.submit(job)
    assert (directory / "said").read_text() == f"{job_id}\n"
    await slurm.cancel(job_id)


@pytest.mark.parametrize(
    "text",
    [f"echo '{TIMED_OUT}' >&2; exit 1", f"echo '{FULL}' >&2; exec sleep 60", "exec sleep 60"],
)
async def test_without_a_job_it_is_to_be_tried_again(
    slurm: Slurm, directory: Path, text: str
) -> None:
    stand_in(directory, text)
    with pytest.raises(BackendUnavailable):
        await slurm.submit(JobDescription(str(directory), name="doubtful", script="#!/bin/sh\n"))
    assert not await slurm.jobs(JobFilter(user="alice", name="doubtful"))

"""Tasks of arrays and components of heterogeneous jobs, each by its id, on a real Slurm."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from passerelle.compute.scheduler import Job, JobDescription, JobFilter, State
from passerelle.compute.schedulers.slurm import Slurm
from passerelle.runtime import caller
from passerelle.runtime.errors import FailedPrecondition, NotFound
from tests.cluster import Cluster
from tests.cluster_shell import cluster_shell

HETEROGENEOUS = """#!/bin/sh
#SBATCH -n1 --time=5
#SBATCH hetjob
#SBATCH -n1 --time=5
srun --het-group=1 sleep 300 &
srun --het-group=0 sleep 300
"""
ARRAY = "#!/bin/sh\n#SBATCH --array=1-3 --time=5\nsleep 300\n"


@pytest.fixture
async def slurm(cluster: Cluster) -> AsyncIterator[Slurm]:
    with caller.bind(caller.Caller("alice", "")):
        async with cluster_shell(cluster) as shell:
            yield Slurm(shell, Slurm.Options(history_cache_seconds=0))


async def running(slurm: Slurm, directory: Path, script: str, steps: int) -> str:
    """The id of a job, when all its parts have so many steps that run."""
    job_id = await slurm.submit(JobDescription(str(directory), name="parts", script=script))
    async with asyncio.timeout(60):
        while sum(len(job.steps) for job in await slurm.job(job_id)) < steps:
            await asyncio.sleep(0.2)
    return job_id


def steps_of(*jobs: Job) -> list[list[str]]:
    """The names of each job's steps; their ids are below the job's own."""
    assert all(step.id.startswith(f"{job.id}.") for job in jobs for step in job.steps)
    return [sorted(step.name for step in job.steps) for job in jobs]


async def test_components(slurm: Slurm, directory: Path) -> None:
    job_id = await running(slurm, directory, HETEROGENEOUS, 3)
    first, second = await slurm.job(job_id)
    wanted = [["batch", "sleep"], ["sleep"]]
    assert (first.id, second.id) == (f"{job_id}+0", f"{job_id}+1")
    assert steps_of(first, second) == wanted
    (alone,) = await slurm.job(second.id)
    assert (alone.id, steps_of(alone)) == (second.id, wanted[1:])
    listed = {job.id: job for job in await slurm.jobs(JobFilter(user="alice"))}
    assert steps_of(listed[first.id], listed[second.id]) == wanted

    with pytest.raises(FailedPrecondition, match=rf"such as {job_id}\+0\.$"):
        await slurm.attach(job_id, "true")
    for which in (job_id, first.id, second.id):
        metadata = await slurm.metadata(which)
        assert (metadata.job_id, metadata.script) == (which, HETEROGENEOUS)
        assert metadata.standard_output == f"{directory}/slurm-{job_id}.out"
    for which in (first.id, second.id):
        file = directory / f"attached-{which}"
        await slurm.attach(which, f'echo "$SLURM_JOB_ID" >"{file}"')
        assert file.read_text() == f"{job_id}\n"

    await slurm.cancel(second.id)
    async with asyncio.timeout(30):
        while not (await slurm.job(second.id))[0].status.state.ended:
            await asyncio.sleep(0.2)
    assert (await slurm.job(first.id))[0].status.state is State.RUNNING
    assert (await slurm.job(second.id))[0].status.state is State.CANCELLED
    await unknown(slurm, f"{job_id}+2")
    await slurm.cancel(job_id)


async def test_tasks(slurm: Slurm, directory: Path) -> None:
    array = await running(slurm, directory, ARRAY, 3)
    numbers = set()
    for task in (1, 2, 3):
        which = f"{array}_{task}"
        assert steps_of(*await slurm.job(which)) == [["batch"]]
        metadata = await slurm.metadata(which)
        assert (metadata.job_id, metadata.script) == (which, ARRAY)
        assert (
            metadata.standard_output == metadata.standard_error == f"{directory}/slurm-{which}.out"
        )
        file = directory / f"attached-{task}"
        await slurm.attach(which, f'echo "$SLURM_JOB_ID" >"{file}"')
        numbers.add(int(file.read_text()))
    assert len(numbers) == 3
    with pytest.raises(FailedPrecondition, match="exit code 3"):
        await slurm.attach(f"{array}_1", "exit 3")
    await slurm.cancel(f"{array}_2")
    async with asyncio.timeout(30):
        while not (await slurm.job(f"{array}_2"))[0].status.state.ended:
            await asyncio.sleep(0.2)
    (cancelled,) = await slurm.job(f"{array}_2")
    assert (cancelled.status.word, cancelled.status.state) == ("CANCELLED", State.CANCELLED)
    async with asyncio.timeout(30):  # accounting tells who
        while (await slurm.job(f"{array}_2"))[0].kill_request_user is None:
            await asyncio.sleep(0.2)
    assert [job.status.state for job in await slurm.job(f"{array}_1")] == [State.RUNNING]
    await unknown(slurm, f"{array}_9")
    await slurm.cancel(array)


async def unknown(slurm: Slurm, job_id: str) -> None:
    for call in (
        slurm.job,
        slurm.metadata,
        slurm.cancel,
        lambda job_id: slurm.attach(job_id, "true"),
    ):
        with pytest.raises(NotFound, match=r"^Job not found\.$"):
            await call(job_id)

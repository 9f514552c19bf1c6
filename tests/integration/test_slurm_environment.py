"""Whatever start-up files export for Slurm's programs: our questions mean the same. On a real Slurm."""

import pwd
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from passerelle.compute.scheduler import Job, JobDescription, JobFilter, State
from passerelle.compute.schedulers.slurm import Slurm
from passerelle.runtime import caller
from passerelle.runtime.command import Command
from tests.cluster import Cluster
from tests.cluster_shell import cluster_shell

USER = "bob"
"""Not alice, who runs srun in other tests meanwhile: that heeds SLURM_CLUSTERS, as the user wishes."""
EXPORTED = (
    *("SQUEUE_PARTITION=nosuch", "SQUEUE_USERS=nobody", "SQUEUE_FORMAT=%i", "SQUEUE_SORT=-i"),
    *("SQUEUE_ARRAY=1", "SQUEUE_STATES=FAILED", "SQUEUE_NAMES=nosuch", "SLURM_CLUSTERS=nosuch"),
    *("SINFO_PARTITION=nosuch", "SINFO_FORMAT=%n", "SLURM_TIME_FORMAT=%H", "SLURM_BITSTR_LEN=8"),
    *("SCANCEL_STATE=SUSPENDED", "SCANCEL_INTERACTIVE=1", "SCANCEL_NAME=nosuch", "SCANCEL_CTLD=1"),
    *("SBATCH_CLUSTERS=nosuch", "SBATCH_WAIT=1", "SBATCH_EXPORT=NONE"),
)


@contextmanager
def exported() -> Iterator[None]:
    """Let the user's start-up file export these variables inside the block."""
    file = Path(pwd.getpwnam(USER).pw_dir) / ".bashrc"
    before = file.read_text() if file.exists() else None
    file.write_text("".join(f"export {shlex.quote(one)}\n" for one in EXPORTED))
    try:
        yield
    finally:
        if before is None:
            file.unlink()
        else:
            file.write_text(before)


async def answers(slurm: Slurm, job_id: str) -> list[Any]:
    """What is asked of a waiting job, the site and the user."""
    wanted = JobFilter(user=USER, name="exported")
    return [
        lasting(await slurm.job(job_id)),
        lasting(await slurm.jobs(wanted)),
        await slurm.metadata(job_id),
        [node.name for node in await slurm.nodes()],
        await slurm.partitions(),
        await slurm.user_info(),
        await slurm.ping(),
    ]


@pytest.fixture(autouse=True)
def user() -> Iterator[None]:
    with caller.bind(caller.Caller(USER, "")):
        yield


def lasting(jobs: Sequence[Job]) -> list[Any]:
    """What does not change while a job waits."""
    return [(job.id, job.name, job.status.state, job.partition, job.time.start) for job in jobs]


async def test_questions_mean_the_same_in_every_environment(cluster: Cluster) -> None:
    async with cluster_shell(cluster) as shell:
        script = "#!/bin/sh\n#SBATCH --array=0-30\n#SBATCH --begin=now+1hour\ntrue\n"
        job = JobDescription("/tmp", name="exported", script=script, environment={"A": "b"})
        with exported():
            slurm = Slurm(shell, Slurm.Options())
            job_id = await slurm.submit(job)
            result = await answers(slurm, job_id)
            observed = await shell.run(
                Command(("printenv", "SQUEUE_PARTITION", "SCANCEL_STATE"), str)
            )
        assert observed == "nosuch\nSUSPENDED\n"  # so that they were there
        plain = Slurm(shell, Slurm.Options())
        assert result == await answers(plain, job_id)
        assert job_id in [listed[0] for listed in result[1]]
        assert result[3] != []
        with exported():
            await slurm.cancel(job_id)
        (cancelled,) = await plain.job(job_id)
        assert cancelled.status.state is State.CANCELLED

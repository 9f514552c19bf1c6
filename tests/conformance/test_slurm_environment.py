"""Whatever start-up files export for Slurm's programs: our questions mean the same. On a real Slurm."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from passerelle.compute.scheduler import Job, JobDescription, JobFilter, State
from passerelle.compute.schedulers.slurm import Slurm
from passerelle.runtime import caller
from passerelle.runtime.command import Command, Shell, T
from tests.cluster import Cluster
from tests.cluster_shell import cluster_shell

EXPORTED = (
    *("SQUEUE_PARTITION=nosuch", "SQUEUE_USERS=nobody", "SQUEUE_FORMAT=%i", "SQUEUE_SORT=-i"),
    *("SQUEUE_ARRAY=1", "SQUEUE_STATES=FAILED", "SQUEUE_NAMES=nosuch", "SLURM_CLUSTERS=nosuch"),
    *("SINFO_PARTITION=nosuch", "SINFO_FORMAT=%n", "SLURM_TIME_FORMAT=%H", "SLURM_BITSTR_LEN=8"),
    *("SCANCEL_STATE=SUSPENDED", "SCANCEL_INTERACTIVE=1", "SCANCEL_NAME=nosuch", "SCANCEL_CTLD=1"),
    *("SBATCH_CLUSTERS=nosuch", "SBATCH_WAIT=1", "SBATCH_EXPORT=NONE"),
)


class Exporting:
    """A shell whose login exports these variables."""

    def __init__(self, shell: Shell, exported: tuple[str, ...]) -> None:
        self._shell = shell
        self._exported = exported

    async def run(self, command: Command[T]) -> T:
        """See `Shell.run`."""
        return await self._shell.run(replace(command, argv=("env", *self._exported, *command.argv)))


@pytest.fixture(autouse=True)
def alice() -> Iterator[None]:
    with caller.bind(caller.Caller("alice", "")):
        yield


def lasting(jobs: Sequence[Job]) -> list[Any]:
    """What does not change while a job waits."""
    return [(job.id, job.name, job.status.state, job.partition, job.time.start) for job in jobs]


async def test_questions_mean_the_same_in_every_environment(cluster: Cluster) -> None:
    async with cluster_shell(cluster) as shell:
        plain = Slurm(shell, Slurm.Options())
        slurm = Slurm(Exporting(shell, EXPORTED), Slurm.Options())
        script = "#!/bin/sh\n#SBATCH --array=0-30\n#SBATCH --begin=now+1hour\ntrue\n"
        job = JobDescription("/tmp", name="exported", script=script, environment={"A": "b"})
        job_id = await slurm.submit(job)
        assert lasting(await slurm.job(job_id)) == lasting(await plain.job(job_id))
        wanted = JobFilter(user="alice", name="exported")
        assert lasting(await slurm.jobs(wanted)) == lasting(await plain.jobs(wanted))
        assert job_id in [found.id for found in await slurm.jobs(wanted)]
        assert await slurm.metadata(job_id) == await plain.metadata(job_id)
        names = [[node.name for node in await each.nodes()] for each in (slurm, plain)]
        assert names[0] == names[1] != []
        assert await slurm.partitions() == await plain.partitions()
        assert await slurm.user_info() == await plain.user_info()
        assert await slurm.ping() == await plain.ping()
        await slurm.cancel(job_id)
        (cancelled,) = await plain.job(job_id)
        assert cancelled.status.state is State.CANCELLED

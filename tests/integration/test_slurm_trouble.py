"""A real Slurm in trouble: its controller is down, or its queue is full."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from passerelle.compute.scheduler import JobDescription, JobFilter
from passerelle.compute.schedulers.slurm import Slurm
from passerelle.runtime import caller, errors
from tests import real
from tests.cluster import CannotRunHere, Cluster, running_cluster
from tests.cluster_shell import cluster_shell


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    """A cluster of this module's own, which it may break."""
    try:
        with running_cluster("--name", "trouble") as running:
            yield running
    except CannotRunHere as reason:
        real.missing("Slurm", str(reason))


@pytest.fixture
async def slurm(own_cluster: Cluster) -> AsyncIterator[Slurm]:
    with caller.bind(caller.Caller("alice", "")):
        async with cluster_shell(own_cluster, seconds=10) as shell:
            yield Slurm(shell, Slurm.Options())


def controller(cluster: Cluster) -> int:
    """The process of the cluster's slurmctld."""
    wanted = f"{cluster.directory}/"
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        words = path.read_bytes().decode(errors="replace").split("\0")
        if words[0].endswith("slurmctld") and any(word.startswith(wanted) for word in words):
            return int(path.parent.name)
    raise LookupError("no slurmctld")


async def test_a_controller_that_is_down_is_unavailable_and_no_time_out(
    own_cluster: Cluster, slurm: Slurm
) -> None:
    assert await slurm.partitions()
    os.kill(controller(own_cluster), signal.SIGKILL)
    questions = (
        lambda: slurm.jobs(JobFilter(user="alice")),
        lambda: slurm.job("1"),
        lambda: slurm.metadata("1"),
        lambda: slurm.cancel("1"),
        slurm.nodes,
        slurm.partitions,
        slurm.reservations,
        slurm.user_info,
        slurm.ping,
        lambda: slurm.submit(JobDescription("/tmp", script="#!/bin/sh\n")),
    )
    for ask in questions:
        with pytest.raises(errors.BackendUnavailable) as raised:
            await ask()
        assert type(raised.value) is errors.BackendUnavailable

"""A real Slurm in trouble: its daemons are down, or hang, its queue is full, or it has forgotten a job."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from passerelle.compute.scheduler import Job, JobDescription, JobFilter, State
from passerelle.compute.schedulers.slurm import Slurm
from passerelle.compute.schedulers.slurm.commands import archived_script_command, streams_command
from passerelle.runtime import caller, errors
from passerelle.runtime.command import Shell
from tests import real
from tests.cluster import CannotRunHere, Cluster, run_recipe, running_cluster
from tests.cluster_shell import cluster_shell

NAME = ("--name", "trouble")
CONTROLLER, DATABASE, MUNGE = (
    "slurm/run/slurmctld.pid",
    "slurm/run/slurmdbd.pid",
    "munge/munged.pid",
)
ENDS = JobDescription("/tmp", name="ends", script="#!/bin/sh\nexit 3\n")
STAYS = JobDescription("/tmp", name="stays", script="#!/bin/sh\nsleep 600\n")


@pytest.fixture(scope="module")
def broken() -> Iterator[Cluster]:
    """A cluster of this module's own, which it may break."""
    try:
        with running_cluster(*NAME) as running:
            yield running
            run_recipe("up", str(running.directory), *NAME)  # without munge it takes long to stop
    except CannotRunHere as reason:
        real.missing("Slurm", str(reason))


@pytest.fixture
def own_cluster(broken: Cluster) -> Cluster:
    """The cluster, mended."""
    run_recipe("up", str(broken.directory), *NAME)
    return broken


@pytest.fixture
async def slurm(own_cluster: Cluster) -> AsyncIterator[Slurm]:
    with caller.bind(caller.Caller("alice", "")):
        async with cluster_shell(own_cluster, seconds=3) as shell:
            yield Slurm(shell, Slurm.Options())


def process(cluster: Cluster, daemon: str) -> int:
    return int((cluster.directory / daemon).read_text())


async def killed(cluster: Cluster, daemon: str) -> None:
    pid = process(cluster, daemon)
    os.kill(pid, signal.SIGKILL)
    while Path(f"/proc/{pid}").exists():
        await asyncio.sleep(0.05)


def start_anew(cluster: Cluster, setting: str) -> None:
    """Start slurmctld without any jobs, and with a setting that goes when the cluster is mended."""
    with cluster.slurm_conf.open("a") as configuration:
        configuration.write(f"{setting}\n")
    subprocess.run(
        ("/usr/sbin/slurmctld", "-c"),
        env={"SLURM_CONF": str(cluster.slurm_conf)},
        user="slurm",
        group="slurm",
        check=True,
        timeout=30,
    )


@contextmanager
def hanging(cluster: Cluster, daemon: str) -> Iterator[None]:
    pid = process(cluster, daemon)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def until(ask: Callable[[], Awaitable[Sequence[Job]]], state: State) -> str:
    """The id of the job that is asked about, when it has come to a state."""
    async with asyncio.timeout(30):
        while (result := await ask())[0].status.state is not state:
            await asyncio.sleep(0.1)
    return result[0].id


async def unavailable(ask: Callable[[], Awaitable[Any]]) -> None:
    with pytest.raises(errors.BackendUnavailable) as raised:
        await ask()
    assert type(raised.value) is errors.BackendUnavailable
    assert raised.value.retry_after


def questions(slurm: Slurm) -> list[Callable[[], Awaitable[Any]]]:
    """Everything that slurmctld has to answer; accounting knows nothing of this job."""
    return [
        lambda: slurm.jobs(JobFilter(user="alice")),
        lambda: slurm.job("99999999"),
        lambda: slurm.metadata("99999999"),
        lambda: slurm.cancel("99999999"),
        lambda: slurm.attach("99999999", "true"),
        lambda: slurm.submit(STAYS),
        slurm.nodes,
        slurm.partitions,
        slurm.reservations,
        slurm.user_info,
        slurm.ping,
    ]


async def test_a_controller_that_is_down_is_unavailable_and_no_time_out(
    own_cluster: Cluster, slurm: Slurm
) -> None:
    await killed(own_cluster, CONTROLLER)
    await asyncio.gather(*(unavailable(ask) for ask in questions(slurm)))


async def test_without_slurmctld_accounting_tells_of_what_has_ended(
    own_cluster: Cluster, slurm: Slurm
) -> None:
    stays, ends = await slurm.submit(STAYS), await slurm.submit(ENDS)
    await until(lambda: slurm.job(stays), State.RUNNING)
    await until(lambda: slurm.job(ends), State.FAILED)
    async with asyncio.timeout(30):
        while not (await slurm.job(ends))[
            0
        ].steps:  # then accounting has it, but perhaps not its script
            await asyncio.sleep(0.1)
        while not await slurm.shell.run(archived_script_command(ends)):
            await asyncio.sleep(0.1)
    await killed(own_cluster, CONTROLLER)
    (job,) = await slurm.job(ends)
    assert (job.status.state, job.status.exit_code) == (State.FAILED, 3)
    metadata = await slurm.metadata(ends)
    assert (metadata.script, metadata.standard_output) == (ENDS.script, f"/tmp/slurm-{ends}.out")
    await unavailable(lambda: slurm.job(stays))


async def test_a_controller_that_hangs_is_unavailable(own_cluster: Cluster, slurm: Slurm) -> None:
    with hanging(own_cluster, CONTROLLER):
        await asyncio.gather(*(unavailable(ask) for ask in questions(slurm)))


async def test_without_accounting_slurmctld_tells_what_it_knows(
    own_cluster: Cluster, slurm: Slurm
) -> None:
    ends = await slurm.submit(ENDS)
    await killed(own_cluster, DATABASE)
    await until(lambda: slurm.job(ends), State.FAILED)
    assert (await slurm.metadata(ends)).script == ENDS.script
    await unavailable(lambda: slurm.job("99999999"))  # whether there was one is not known
    await unavailable(lambda: slurm.metadata("99999999"))
    await unavailable(lambda: slurm.jobs(JobFilter(user="alice")))
    await slurm.cancel(await slurm.submit(STAYS))


async def test_when_accounting_hangs_slurmctld_tells_what_it_knows(
    own_cluster: Cluster, slurm: Slurm
) -> None:
    ends = await slurm.submit(ENDS)
    with hanging(own_cluster, DATABASE):
        await until(lambda: slurm.job(ends), State.FAILED)
        await unavailable(lambda: slurm.job("99999999"))
        await unavailable(lambda: slurm.jobs(JobFilter(user="alice")))


async def test_a_full_queue_is_to_be_tried_again(own_cluster: Cluster) -> None:
    await killed(own_cluster, CONTROLLER)
    start_anew(own_cluster, "MaxJobCount=2")
    with caller.bind(caller.Caller("alice", "")):
        async with cluster_shell(own_cluster) as shell:
            slurm = Slurm(shell, Slurm.Options())
            async with asyncio.timeout(30):
                while not await answers(slurm):
                    await asyncio.sleep(0.1)
            before = await listed(slurm)  # which accounting remembers
            first = await slurm.submit(STAYS)
            with pytest.raises(errors.BackendUnavailable, match="Slurm has no such job") as raised:
                await slurm.submit(STAYS)
            assert raised.value.retry_after
            assert await listed(slurm) == before | {first}
            # it is still tried while there is time
            second = asyncio.create_task(slurm.submit(STAYS))
            await slurm.cancel(first)
            with suppress(errors.BackendUnavailable):  # slurmctld purges the first a little later
                assert await second != first


async def listed(slurm: Slurm) -> set[str]:
    return {job.id for job in await slurm.jobs(JobFilter(user="alice"))}


async def test_where_the_output_of_a_forgotten_job_is(own_cluster: Cluster) -> None:
    directory = Path("/tmp") / f"forgotten-{os.getpid()}"
    directory.mkdir()
    shutil.chown(directory, "alice")
    await killed(own_cluster, CONTROLLER)
    start_anew(own_cluster, "MinJobAge=2")
    say = "#!/bin/sh\necho said\n"
    described = [
        JobDescription(str(directory), script=say),
        JobDescription(str(directory), script=say, name="a b", standard_output="%x %4j-%t.%u"),
        JobDescription(
            str(directory), script="#!/bin/sh\n#SBATCH -o %J-%%.txt -e err\necho said\n"
        ),
        JobDescription(str(directory), script="#!/bin/sh\n#SBATCH --array=3-4\necho said\n"),
    ]
    with caller.bind(caller.Caller("alice", "")):
        async with cluster_shell(own_cluster) as shell:
            slurm = Slurm(shell, Slurm.Options())
            async with asyncio.timeout(60):
                while not await answers(slurm):
                    await asyncio.sleep(0.1)
                jobs = [await slurm.submit(job) for job in described]
                for job_id in jobs:
                    while await is_known(shell, job_id):
                        await asyncio.sleep(0.5)
            metadata = [await slurm.metadata(job_id) for job_id in (*jobs, f"{jobs[-1]}_4")]
    assert [job.script for job in metadata[:4]] == [job.script for job in described]
    for job in metadata:
        assert job.standard_input == "/dev/null"
        assert Path(job.standard_output or "").read_text() == "said\n"
    assert metadata[2].standard_error == f"{directory}/err"
    assert metadata[0].standard_error == metadata[0].standard_output
    shutil.rmtree(directory)


async def is_known(shell: Shell, job_id: str) -> bool:
    """Whether slurmctld knows the job."""
    try:
        await shell.run(streams_command(job_id))
    except errors.NotFound:
        return False
    return True


async def answers(slurm: Slurm) -> bool:
    try:
        await slurm.ping()
    except errors.BackendUnavailable:
        return False
    return True


async def test_without_munge_slurm_is_unavailable(own_cluster: Cluster, slurm: Slurm) -> None:
    await killed(own_cluster, MUNGE)
    await asyncio.gather(*(unavailable(ask) for ask in questions(slurm)))

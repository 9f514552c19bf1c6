"""A job's variables reach the job and nothing else: on every registered scheduler, for real.

The job is a program that copies its own environment; no shell could show variables exactly.
"""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from passerelle.compute.scheduler import JobDescription, Scheduler, State
from passerelle.compute.schedulers.local.scheduler import Local
from passerelle.compute.schedulers.slurm import Slurm
from passerelle.runtime import caller
from passerelle.runtime.config.plugins import names
from tests.cluster_shell import cluster_shell
from tests.unit.compute.local_shell import LocalShell

_PATIENCE = 60.0  # seconds
SCRIPT = """#!/usr/bin/python3 -IS
with open("/proc/self/environ", "rb") as environment:
    content = environment.read()
with open("told", "wb") as file:
    file.write(content)
"""
HOSTILE = {
    "PATH": "{work}/traps",
    "BASH_ENV": "{work}/traps/sbatch",
    "ENV": "{work}/traps/sbatch",
    "IFS": "/a",
    "SHELLOPTS": "xtrace:noexec",
    "sbatch": "{work}/traps/sbatch",
    "program": "{work}/traps/sbatch",
    "PYTHONSTARTUP": "{work}/traps/sbatch",
    "PYTHONPATH": "{work}/traps",
    "LD_LIBRARY_PATH": "{work}/traps",
    "SBATCH_ACCOUNT": "nosuch",
    "SBATCH_PARTITION": "nosuch",
    "SBATCH_EXPORT": "NONE",
    "SQUEUE_FORMAT": "%n",
    "SLURM_CLUSTERS": "nosuch",
    "SLURM_EXIT_ERROR": "0",
    "BASH_FUNC_exec%%": "() { {work}/traps/sbatch; }",
    "no name-for a shell": "x",
    "LINES": "one\ntwo\n",
    "EQUALS": "a=b=c,d",
    "UTF8": "日本 é",
    "EMPTY": "",
}


@dataclass(frozen=True)
class Real:
    """A scheduler, and a directory that its jobs and this process see."""

    scheduler: Scheduler
    user: str
    work: Path


@pytest.fixture
def work() -> Iterator[Path]:
    directory = Path(
        tempfile.mkdtemp(prefix="environment-", dir="/tmp")
    )  # where every account may enter
    yield directory
    shutil.rmtree(directory)


@asynccontextmanager
async def local(request: pytest.FixtureRequest, work: Path) -> AsyncIterator[Real]:
    shell = LocalShell(work)
    scheduler = Local(shell, Local.Options(python=sys.executable, kill_wait=0.2))
    yield Real(scheduler, (await scheduler.user_info()).user.name, work)


@asynccontextmanager
async def slurm(request: pytest.FixtureRequest, work: Path) -> AsyncIterator[Real]:
    cluster = request.getfixturevalue("cluster")
    shutil.chown(work, "alice", "alice")
    async with cluster_shell(cluster) as shell:
        yield Real(Slurm(shell, Slurm.Options()), "alice", work)


SYSTEMS = {"local": local, "slurm": slurm}


@pytest.fixture(params=names("passerelle.schedulers"))
async def system(request: pytest.FixtureRequest, work: Path) -> AsyncIterator[Real]:
    user = "alice" if request.param == "slurm" else "me"
    with caller.bind(caller.Caller(user, "")):
        async with SYSTEMS[request.param](request, work) as system:
            yield system


async def environment_of_job(system: Real, environment: dict[str, str]) -> dict[str, str]:
    """The environment that a job with these variables finds."""
    reported = system.work / "told"
    reported.unlink(missing_ok=True)
    job = JobDescription(str(system.work), script=SCRIPT, environment=environment)
    with caller.bind(caller.Caller(system.user, "")):
        job_id = await system.scheduler.submit(job)
        async with asyncio.timeout(_PATIENCE):
            while not (await system.scheduler.job(job_id))[0].status.state.ended:
                await asyncio.sleep(0.2)
        (ended,) = await system.scheduler.job(job_id)
    assert ended.status.state is State.SUCCEEDED
    text = reported.read_bytes().decode("utf-8", "surrogateescape")
    return dict(pair.split("=", 1) for pair in text.split("\0") if pair)


async def test_hostile_variables_reach_the_job_exactly_and_nothing_else(system: Real) -> None:
    trap = system.work / "traps" / "sbatch"
    trap.parent.mkdir()
    trap.write_text(f"#!/bin/sh\necho trapped >>{system.work}/trapped\necho 4242\n")
    trap.chmod(0o755)
    os.symlink("sbatch", trap.parent / "env")
    wanted = {name: value.replace("{work}", str(system.work)) for name, value in HOSTILE.items()}
    plain = await environment_of_job(system, {"F7T_version": "v2.0.0"})
    result = await environment_of_job(system, wanted)
    assert {name: result.get(name) for name in wanted} == wanted
    assert not (system.work / "trapped").exists()
    others = plain.keys() - wanted.keys() - {"F7T_version"}
    assert others <= result.keys()
    own = ("SLURM", "PASSERELLE_JOB_ID")
    assert {
        name: plain[name] for name in others if not name.startswith(own)
    }.items() <= result.items()

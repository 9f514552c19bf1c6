"""The users that the bench calls as, with their files to read and their jobs to look up."""

import asyncio
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.floor import connected_to
from tests.cluster import Cluster

MIB = bytes(1 << 20)
JOB_NAME = f"passerelle-bench-{os.getpid()}"
"""Of all jobs that this process submits."""
_HISTORY = 5  # jobs of each user, besides the one that is asked for
_LONGEST = 300.0  # that they may take, s
_FOLDER = f"passerelle-bench-{os.getpid()}"


@dataclass(frozen=True)
class Account:
    """A user of the cluster."""

    name: str
    job: str
    """The id of a job that has ended."""

    @property
    def folder(self) -> Path:
        """The directory of its own in the user's home."""
        return _folder(self.name)


@asynccontextmanager
async def prepared(cluster: Cluster, names: Sequence[str]) -> AsyncIterator[list[Account]]:
    """Users of the cluster with their files and ended jobs; the files are removed on leaving.

    In each folder: `one_mib.bin`, the directories `ls20` and `ls2000` with so many empty files, and `uploads`.
    """
    async with AsyncExitStack() as stack:
        for name in names:
            stack.enter_context(_files(name))
        jobs = await asyncio.gather(*(_submitted(cluster, name) for name in names))
        await asyncio.to_thread(_wait_until_ended, cluster)
        yield [Account(name, job) for name, job in zip(names, jobs, strict=True)]


def cancel_jobs(cluster: Cluster) -> None:
    """Cancel all jobs of the bench that have not ended, whoever has submitted them."""
    _slurm(cluster, "scancel", f"--name={JOB_NAME}")


def _folder(name: str) -> Path:
    return Path(pwd.getpwnam(name).pw_dir) / _FOLDER


@contextmanager
def _files(name: str) -> Iterator[None]:
    folder, owner = _folder(name), pwd.getpwnam(name)
    try:
        folder.mkdir()
        for directory, entries in (("ls20", 20), ("ls2000", 2000), ("uploads", 0)):
            (folder / directory).mkdir()
            for number in range(entries):
                (folder / directory / f"file_{number:04}.dat").touch()
        (folder / "one_mib.bin").write_bytes(MIB)
        for path in (folder, *folder.iterdir()):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _submitted(cluster: Cluster, name: str) -> str:
    """Submit a user's jobs; the id of the last one."""
    submit = f"sbatch --parsable --job-name={JOB_NAME} --output=/dev/null --time=1 --wrap=true"
    async with connected_to(cluster, name) as connection:
        await connection.run(f"{submit} --array=1-{_HISTORY}", check=True)
        return str((await connection.run(submit, check=True)).stdout).strip()


def _wait_until_ended(cluster: Cluster) -> None:
    deadline = time.monotonic() + _LONGEST
    while _slurm(cluster, "squeue", "-h", f"--name={JOB_NAME}"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"jobs did not end within {_LONGEST:.0f} s")
        time.sleep(0.5)


def _slurm(cluster: Cluster, *command: str) -> str:
    environment = os.environ | {"SLURM_CONF": str(cluster.slurm_conf)}
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout

"""A real Slurm and OpenSSH for the tests, started by the recipe in `deploy/cluster`.

Where it cannot run (not Debian, not root) the tests that ask for it are skipped with the reason, or fail
in the strict mode. PASSERELLE_TEST_CLUSTER=DIRECTORY uses a cluster that already runs there.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import parallel, real

RECIPE = Path(__file__).parents[1] / "deploy" / "cluster"
CANNOT_RUN_HERE = 77
_NAME = "cluster"  # in a run's directory
START_SECONDS = 900  # with the packages to install, on a slow mirror


class CannotRunHere(Exception):
    """This machine cannot run the recipe; the text has the reason."""


@dataclass(frozen=True)
class Cluster:
    """The location of a running cluster, and its users."""

    directory: Path
    name: str
    """Slurm's ClusterName."""
    host: str
    ssh_port: int
    known_hosts: Path
    ca_key: Path
    """The private key whose certificates sshd accepts; a certificate's principal is the user."""
    slurm_conf: Path
    users: tuple[str, ...]
    """The users that may log in: alice, bob, and those that `up --users` made."""

    @classmethod
    def at(cls, directory: Path) -> "Cluster":
        """The cluster that `up` described in `directory`/cluster.env."""
        lines = (directory / "cluster.env").read_text().splitlines()
        env = dict(line.split("=", 1) for line in lines)
        return cls(
            directory=directory,
            name=env["NAME"],
            host=env["SSH_HOST"],
            ssh_port=int(env["SSH_PORT"]),
            known_hosts=Path(env["KNOWN_HOSTS"]),
            ca_key=Path(env["USER_CA"]),
            slurm_conf=Path(env["SLURM_CONF"]),
            users=tuple(env["USERS"].split(",")),
        )


@contextmanager
def running_cluster(*options: str) -> Iterator[Cluster]:
    """A cluster of its own, stopped and removed at the end; `options` go to `up`.

    Raises CannotRunHere where the recipe says so, RuntimeError with its last words where it fails.
    """
    directory = Path(tempfile.mkdtemp(prefix="passerelle-cluster-"))
    try:
        run_recipe("up", str(directory), *options)
        yield Cluster.at(directory)
    finally:
        if (directory / "cluster.env").exists():
            run_recipe("down", str(directory), "--wipe")
        if directory.exists():
            shutil.rmtree(directory)


def run_recipe(program: str, *arguments: str) -> None:
    """Run `up` or `down`; raises as `running_cluster` does."""
    done = subprocess.run(
        (str(RECIPE / program), *arguments),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    last_words = "\n".join((done.stdout + done.stderr).splitlines()[-5:])
    if done.returncode == CANNOT_RUN_HERE:
        raise CannotRunHere(last_words)
    if done.returncode:
        raise RuntimeError(f"deploy/cluster/{program} failed: {last_words}")


def given_cluster() -> Cluster | None:
    """The cluster that PASSERELLE_TEST_CLUSTER names."""
    directory = os.environ.get("PASSERELLE_TEST_CLUSTER")
    return Cluster.at(Path(directory)) if directory else None


def shared_cluster() -> Cluster:
    """The cluster that PASSERELLE_TEST_CLUSTER names, else that of this run, which is started at the first call."""
    if there := given_cluster():
        return there
    with parallel.one_at_a_time("cluster"):
        run_recipe("up", str(_of_this_run()))  # starts only what does not run
    return Cluster.at(_of_this_run())


def pytest_configure(config: pytest.Config) -> None:
    """End the clusters of runs that were killed."""
    if not parallel.is_worker(config):
        for run in parallel.abandoned(Path(tempfile.gettempdir())):
            _end(run / _NAME)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the cluster of this run, if it was started."""
    if not parallel.is_worker(config):
        _end(_of_this_run())


def _end(directory: Path) -> None:
    if (directory / "cluster.env").exists():
        run_recipe("down", str(directory))


def _of_this_run() -> Path:
    return parallel.directory() / _NAME


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The one real cluster of this test run."""
    try:
        running = shared_cluster()
    except CannotRunHere as reason:
        real.missing("Slurm", str(reason))
    real.exercised("Slurm", _version(running, "sinfo", "--version"))
    real.exercised("OpenSSH", _version(running, "ssh", "-V"))
    return running


def _version(cluster: Cluster, *command: str) -> str:
    environment = os.environ | {"SLURM_CONF": str(cluster.slurm_conf)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=10, check=True
    )
    return (done.stdout + done.stderr).strip()

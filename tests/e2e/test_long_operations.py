"""What takes longer than an operation may: pyfirecrest takes 408 as the sign to ask for a transfer job instead.

A site of its own, which gives every operation one second, in front of the real Slurm.
"""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from firecrest.FirecrestException import UnexpectedStatusException
from firecrest.v2 import Firecrest

from deploy.cluster.configuration import cluster_site
from tests.cluster import Cluster
from tests.e2e.target import Target
from tests.ports import free_port
from tests.stack import PASSERELLE, running_site

FILES = 150_000
ZEROS = 1 << 30
HOME = Path("/home/alice")


@pytest.fixture(scope="module")
def hasty(cluster: Cluster) -> Iterator[Target]:
    """Alice on a site that gives up early."""
    with tempfile.TemporaryDirectory() as name:
        site = cluster_site(cluster.directory, gateway_port=free_port())
        site["systems"][0]["ssh"]["timeout"] = {"command": 1}
        path = Path(name) / "site.yaml"
        path.write_text(yaml.safe_dump(site))
        with running_site("--config", str(path), environment={}) as ready:
            token = _token(path)
            yield Target(
                base_url=ready["ready"],
                system="cluster",
                user="alice",
                token=lambda: token,
                directory=str(HOME),
                partition="debug",
                account="proj1sub",
            )


def _token(site: Path) -> str:
    command = (str(PASSERELLE), "token", "--config", str(site), "--client", "alice")
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.strip()


@pytest.fixture
def client(hasty: Target) -> Iterator[Firecrest]:
    client = Firecrest(firecrest_url=hasty.base_url, authorization=hasty)
    for _ in range(10):  # the first call opens the connection, which may take a second on its own
        try:
            client.stat(hasty.system, hasty.directory)
            break
        except UnexpectedStatusException:
            continue
    yield client
    client.close_session()


@pytest.fixture
def directory(hasty: Target) -> Iterator[Path]:
    path = HOME / f"passerelle-e2e-{uuid.uuid4()}"
    path.mkdir()
    shutil.chown(path, hasty.user, hasty.user)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def log(client: Firecrest, path: Path) -> str:
    """What the newest archiving job said whose script speaks of this path; its logs are removed."""
    jobs = client.job_info("cluster", name="CompressFiles", time_window="1h")
    for job in reversed(jobs):
        metadata = client.job_metadata("cluster", job["jobId"])[0]
        if str(path) in str(metadata["script"]):
            output = Path(metadata["standardOutput"]).read_text()
            for stream in ("standardOutput", "standardError"):
                Path(metadata[stream]).unlink()
            return output
    return "no such job"


def test_a_tree_that_takes_long_to_remove(
    hasty: Target, client: Firecrest, directory: Path
) -> None:
    tree = directory / "tree"
    tree.mkdir()
    for number in range(FILES):
        os.close(os.open(tree / str(number), os.O_CREAT | os.O_WRONLY))
    shutil.chown(tree, hasty.user, hasty.user)
    reply = client.rm(hasty.system, str(tree), account=hasty.account)
    assert reply is not None, "no job was needed"
    assert not tree.exists()
    job = reply["transferJob"]
    assert "Files were successfully deleted." in client.view(hasty.system, job["logs"]["outputLog"])
    for path in job["logs"].values():
        Path(path).unlink()


def test_an_archive_that_takes_long_to_make_and_to_unpack(
    hasty: Target, client: Firecrest, directory: Path
) -> None:
    source, archive, out = directory / "zeros", directory / "zeros.tgz", directory / "out"
    with source.open("wb") as file:
        file.truncate(ZEROS)
    out.mkdir()
    for path in (source, out):
        shutil.chown(path, hasty.user, hasty.user)
    client.compress(hasty.system, str(source), str(archive), account=hasty.account)
    assert "Files were successfully compressed." in log(client, archive)
    client.extract(hasty.system, str(archive), str(out), account=hasty.account)
    assert (out / "zeros").stat().st_size == ZEROS
    assert "Files were successfully extracted." in log(client, out)
    assert sorted(path.name for path in directory.iterdir()) == ["out", "zeros", "zeros.tgz"]

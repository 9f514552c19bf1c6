"""Whatever becomes of a transfer's job, nothing is left: on a real Slurm, with a real MinIO."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.cluster import Cluster
from tests.e2e.staging_site import METHODS, MIB, StagingSite, begun, log_of, put, staging_site
from tests.minio import MinioServer


@pytest.fixture(scope="module")
def site(cluster: Cluster, minio: MinioServer) -> Iterator[StagingSite]:
    with staging_site(cluster, minio) as site:
        yield site


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory of alice's; nothing but what tests put there is in it at the end."""
    path = Path("/home/alice") / f"passerelle-e2e-{uuid.uuid4()}"
    path.mkdir()
    shutil.chown(path, "alice", "alice")
    yield path
    assert [entry.name for entry in path.iterdir() if entry.name.startswith(".")] == []
    shutil.rmtree(path)


def source(home: Path, size: int = 3) -> str:
    """A file to send."""
    path = home / f"source-{uuid.uuid4()}"
    path.write_bytes(os.urandom(size))
    shutil.chown(path, "alice", "alice")
    return str(path)


@pytest.mark.parametrize("method", METHODS)
def test_cancelled_at_once(site: StagingSite, home: Path, method: str) -> None:
    jobs = []
    for number in range(6):
        jobs.append(begun(site.upload(f"{home}/{number}", method)))
        site.cancel(jobs[-1])
    # Of a size that it is not there before it can be cancelled.
    jobs.append(begun(site.download(source(home, 400 * MIB), method)))
    site.cancel(jobs[-1])
    site.until_nothing_is_left(*jobs)


@pytest.mark.parametrize("method", METHODS)
def test_cancelled_before_it_began(site: StagingSite, home: Path, method: str) -> None:
    up = site.upload(f"{home}/x", method, system="held")
    if method == "s3":
        put(up, b"abc")
        assert [name for name in site.in_store() if name.startswith("alice/")]
    jobs = [begun(up), begun(site.download(source(home), method, system="held"))]
    assert len(site.unfinished(*jobs)) == 2
    for job in jobs:
        assert site.state(job) == "PENDING"
        site.cancel(job)
    site.until_nothing_is_left(*jobs)
    assert not (home / "x").exists()
    if method == "s3":
        url = up.json()["transferDirectives"]["partsUploadUrls"][0]
        assert httpx.put(url, content=b"abc", timeout=60).status_code == 404


def test_cancelled_by_slurms_own_command(site: StagingSite, home: Path) -> None:
    job = begun(site.upload(f"{home}/x", "s3", system="held"))
    site.slurm("scancel", job["jobId"])
    site.until_nothing_is_left(job)


@pytest.mark.parametrize("method", METHODS)
def test_a_node_without_python(site: StagingSite, home: Path, method: str) -> None:
    jobs = [
        begun(site.upload(f"{home}/x", method, system="bare")),
        begun(site.download(source(home), method, system="bare")),
    ]
    site.until_nothing_is_left(*jobs)
    for job in jobs:
        assert "this node has no Python 3" in log_of(job)
        assert site.state(job) == "FAILED"


WAITING = {"s3": "Waiting till", "streamer": "Listening on"}


def _killed(site: StagingSite, job: str) -> None:
    site.slurm("scancel", "--signal=KILL", "--full", job)


def _cancelled(site: StagingSite, job: str) -> None:
    site.slurm("scancel", job)


def _requeued(site: StagingSite, job: str) -> None:
    site.slurm("scontrol", "requeue", job)


@pytest.mark.parametrize("end", [_killed, _cancelled, _requeued])
@pytest.mark.parametrize("method", WAITING)
def test_ended_while_it_waits(
    site: StagingSite, home: Path, method: str, end: Callable[[StagingSite, str], None]
) -> None:
    job = begun(site.upload(f"{home}/x", method))
    site.until(lambda: WAITING[method] in log_of(job), lambda: log_of(job))
    end(site, job["jobId"])
    site.until_nothing_is_left(job)
    if end is _requeued:
        site.slurm(
            "scancel", job["jobId"]
        )  # it may have to wait for minutes before it starts again


def test_killed_while_it_receives(site: StagingSite, home: Path) -> None:
    size = 200 * MIB
    reply = site.request(
        "POST",
        "/filesystem/cluster/transfer/upload",
        "alice",
        path=f"{home}/x",
        transferDirectives={"transferMethod": "s3", "fileSize": size},
    )
    job = begun(reply)
    put(reply, bytes(size))
    site.until(lambda: list(home.glob(".*.passerelle-part")), lambda: log_of(job))
    _killed(site, job["jobId"])
    site.until_nothing_is_left(job)
    site.until(lambda: not list(home.glob(".*.passerelle-part")))
    assert not (home / "x").exists()


def test_killed_while_it_sends(site: StagingSite, home: Path) -> None:
    job = begun(site.download(source(home, 400 * MIB), "s3"))
    site.until(lambda: "Sending" in log_of(job), lambda: log_of(job))
    _killed(site, job["jobId"])
    site.until_nothing_is_left(job)


@pytest.mark.parametrize("end", [_killed, _cancelled])
def test_ended_while_it_packs(
    site: StagingSite, home: Path, end: Callable[[StagingSite, str], None]
) -> None:
    body = {"path": source(home, 100 * MIB), "targetPath": f"{home}/x.tbz", "compression": "bzip2"}
    job = begun(site.request("POST", "/filesystem/cluster/transfer/compress", "alice", **body))
    site.until(lambda: list(home.glob(".*.passerelle-part")), lambda: log_of(job))
    end(site, job["jobId"])
    site.until_nothing_is_left(job)
    assert not list(home.glob(".*"))
    assert not (home / "x.tbz").exists()


def test_what_was_brought_out_stays_until_it_is_fetched(site: StagingSite, home: Path) -> None:
    path = source(home)
    reply = site.download(path, "s3")
    job = begun(reply)
    site.until(lambda: site.state(job) == "COMPLETED", lambda: log_of(job))
    assert site.unfinished(job) == []
    other = begun(site.upload(f"{home}/x", "s3"))  # which looks after what is left
    site.cancel(other)
    site.until(lambda: not site.unfinished(other))
    url = reply.json()["transferDirectives"]["downloadUrl"]
    assert httpx.get(url, timeout=60).content == Path(path).read_bytes()
    [left] = [name for name in site.in_store() if name.startswith("alice/")]
    site.store.client.remove_object("alice", left.removeprefix("alice/"))

"""Copies from one system to another through Envoy, over REST and gRPC, and what is left when they are cut off.

Two systems of one site, both on the real OpenSSH and Slurm, each with filesystems of its own.
"""

import hashlib
import json
import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
import yaml

from deploy.cluster.configuration import cluster_site
from passerelle.v1 import transfers_pb2 as pb
from passerelle.v1.transfers_pb2_grpc import TransferServiceStub
from tests.cluster import Cluster
from tests.e2e.sites import S3_KEY, staging_by
from tests.minio import MinioServer
from tests.stack import running_site

LONG = 256 << 20  # bytes; enough for something to happen while it is copied
PATIENCE = 30.0  # seconds
ACCOUNT = "proj1sub"


@dataclass(frozen=True)
class Site:
    """A running site with the systems `cluster` and `other`; `pid` is that of `passerelle up`.

    `here` and `there` are directories of alice's, the one on `cluster`, the other on `other`.
    """

    base_url: str
    token: str
    pid: int
    here: Path
    there: Path

    @contextmanager
    def transfer(self, source: str, target: str, **more: Any) -> Iterator[httpx.Response]:
        """The reply that tells how a copy of `here`/source to `there`/target goes."""
        where = {"path": f"{self.here}/{source}", "target": f"{self.there}/{target}"}
        url = f"{self.base_url}/v1/systems/cluster/files:transfer"
        headers = {"Authorization": f"Bearer {self.token}"}
        body = {**where, "targetSystem": "other", **more}
        with httpx.stream("POST", url, json=body, headers=headers, timeout=60) as reply:
            yield reply

    def messages_of(self, source: str, target: str, **more: Any) -> list[dict[str, Any]]:
        """Copy; all that is said about it."""
        with self.transfer(source, target, **more) as reply:
            assert reply.status_code == 200, reply.read()
            return [json.loads(line) for line in reply.iter_lines() if line]

    def storage(self) -> int:
        """The process id of the storage service."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        pids = [pid for task in tasks for pid in (task / "children").read_text().split()]
        (only,) = (
            pid for pid in pids if b"\0storage\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
        )
        return int(only)

    def arrived(self) -> int:
        """How much of a file that is not whole yet is there, bytes."""
        return max(
            (part.stat().st_size for part in self.there.glob(".*.passerelle-part")), default=0
        )


@pytest.fixture(scope="module")
def site(cluster: Cluster, minio: MinioServer) -> Iterator[Site]:
    with (
        tempfile.TemporaryDirectory(prefix="passerelle-other-") as root,
        tempfile.TemporaryDirectory(prefix="passerelle-site-") as name,
        _directory(Path("/home/alice")) as here,
    ):
        Path(root).chmod(0o755)
        configuration = Path(name) / "site.yaml"
        configuration.write_text(yaml.safe_dump(_two_systems(cluster, minio, root)))
        with (
            _directory(Path(root)) as there,
            running_site("--config", str(configuration), environment=S3_KEY) as ready,
        ):
            yield Site(ready["ready"], ready["token"], ready["pid"], here, there)


def _two_systems(cluster: Cluster, minio: MinioServer, root: str) -> dict[str, Any]:
    """Both stage with one store."""
    site = cluster_site(cluster.directory)
    (first,) = site["systems"]
    first["data_operation"]["staging"] = staging_by(minio)
    filesystem = {"path": root, "data_type": "scratch", "default_work_dir": True}
    work_dir = first["data_operation"] | {"work_dir": "/home/{user}"}
    other = {"name": "other", "filesystems": [filesystem], "data_operation": work_dir}
    return site | {"systems": [first, first | other]}


@contextmanager
def _directory(parent: Path) -> Iterator[Path]:
    """A new directory of alice's, gone at the end."""
    directory = parent / f"passerelle-e2e-{uuid.uuid4()}"
    directory.mkdir()
    shutil.chown(directory, "alice")
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def long(site: Site) -> Path:
    """A long file on `cluster`."""
    path = site.here / "long"
    path.write_bytes(os.urandom(1 << 20) * (LONG >> 20))
    return path


@pytest.fixture(autouse=True)
def _nothing_there(site: Site) -> Iterator[None]:
    yield
    for path in site.there.iterdir():
        path.unlink()


def until(happens: Callable[[], Any], what: str) -> None:
    """Wait for it."""
    deadline = time.monotonic() + PATIENCE
    while not happens():
        assert time.monotonic() < deadline, f"not in {PATIENCE} s: {what}"
        time.sleep(0.01)


def test_over_rest(site: Site) -> None:
    content = os.urandom(5_000_000)
    (site.here / "a b").write_bytes(content)
    first, *_, last = site.messages_of("a b", "c d")
    assert (first["bytesDone"], first["bytesTotal"], first["finished"]) == ("0", "5000000", False)
    assert (last["bytesDone"], last["bytesTotal"], last["finished"]) == ("5000000", "5000000", True)
    assert last["sha256"] == hashlib.sha256(content).hexdigest()
    assert (site.there / "c d").read_bytes() == content
    assert (site.there / "c d").owner() == "alice"
    with site.transfer("a b", "c d") as reply:
        error = json.loads(reply.read())["error"]
    assert (reply.status_code, error["status"]) == (409, "ALREADY_EXISTS")
    assert error["message"] == f"On system other: {site.there}/c d: File exists"


def test_over_grpc(site: Site) -> None:
    (site.here / "source").write_bytes(b"content")
    request = pb.TransferFileRequest(
        system="cluster",
        path=f"{site.here}/source",
        target_system="other",
        target=f"{site.there}/target",
    )
    metadata = (("authorization", f"Bearer {site.token}"),)
    with grpc.insecure_channel(urlsplit(site.base_url).netloc) as channel:
        *_, last = TransferServiceStub(channel).TransferFile(request, metadata=metadata, timeout=60)
    assert last.finished
    assert (site.there / "target").read_bytes() == b"content"


def test_a_path_outside_of_the_target_system_is_refused(site: Site) -> None:
    (site.here / "source").write_bytes(b"content")
    with site.transfer("source", "../../etc/target") as reply:
        error = json.loads(reply.read())["error"]
    assert reply.status_code == 400
    assert error["message"] == "target is in none of the filesystems of system other"


def test_a_client_that_leaves_ends_the_copy_and_can_resume_it(site: Site, long: Path) -> None:
    with site.transfer("long", "target"):
        until(site.arrived, "the first bytes")
    until(lambda: _still(site.arrived), "an end of it")
    assert list(site.there.glob("target")) == []
    arrived = site.arrived()
    assert arrived < LONG
    first, *_, last = site.messages_of("long", "target", resume=True)
    assert int(first["bytesResumed"]) == arrived
    assert "error" not in last, last["error"]
    assert last["sha256"] == hashlib.sha256(long.read_bytes()).hexdigest()
    assert (site.there / "target").read_bytes() == long.read_bytes()


def _still(measured: Callable[[], int]) -> bool:
    before = measured()
    time.sleep(0.5)
    return measured() == before


def test_a_killed_service_leaves_what_can_be_resumed(site: Site, long: Path) -> None:
    before = site.storage()
    with site.transfer("long", "target") as reply:
        until(site.arrived, "the first bytes")
        os.kill(before, signal.SIGKILL)
        with pytest.raises(httpx.TransportError):
            reply.read()
    assert [path.name for path in site.there.glob("*")] == [
        path.name for path in site.there.glob(".*.passerelle-part")
    ]
    until(lambda: _is_served(site) and site.storage() != before, "another storage service")
    first, *_, last = site.messages_of("long", "target", resume=True)
    assert int(first["bytesResumed"]) > 0
    assert last["finished"]
    assert (site.there / "target").read_bytes() == long.read_bytes()


def _is_served(site: Site) -> bool:
    headers = {"Authorization": f"Bearer {site.token}"}
    url = f"{site.base_url}/v1/systems/other/files:stat"
    return httpx.get(url, params={"path": str(site.there)}, headers=headers).is_success


def test_a_source_that_changes_is_told_in_the_last_message(site: Site) -> None:
    source = site.here / "changing"
    source.write_bytes(bytes(LONG))
    with site.transfer("changing", "target") as reply:
        until(site.arrived, "the first bytes")
        with source.open("ab") as file:
            file.write(b"more")
        assert reply.status_code == 200
        *_, last = [json.loads(line) for line in reply.iter_lines() if line]
    assert not last["finished"]
    assert (last["error"]["code"], last["error"]["reason"]) == (409, "FILE_CHANGED")
    assert last["error"]["message"].startswith("On system cluster: ")
    assert list(site.there.iterdir()) == []


Debris = Callable[[], list[str]]


@pytest.fixture
def debris(site: Site, minio: MinioServer) -> Debris:
    """Tells what a test left in the store, and of files that are not whole."""

    def stored() -> set[str]:
        buckets = (bucket.name for bucket in minio.client.list_buckets())
        result = (minio.client.list_objects(bucket, recursive=True) for bucket in buckets)
        return {str(item.object_name) for items in result for item in items}

    before = stored()
    return lambda: [*(stored() - before), *map(str, site.there.glob(".*.passerelle-part"))]


def test_staged(site: Site, debris: Debris) -> None:
    content = os.urandom(1 << 20) * 12 + b"end"
    (site.here / "source").write_bytes(content)
    messages = site.messages_of("source", "target", method="STAGED", account=ACCOUNT)
    assert [job["system"] for job in messages[0]["jobs"]] == ["cluster", "other"]
    assert messages[-1]["finished"]
    assert messages[-1]["sha256"] == hashlib.sha256(content).hexdigest()
    assert (site.there / "target").read_bytes() == content
    assert (site.there / "target").stat().st_mode & 0o777 == 0o644
    assert debris() == []


@pytest.mark.parametrize("size", [0, 1])
def test_staged_of_next_to_nothing(site: Site, debris: Debris, size: int) -> None:
    (site.here / "source").write_bytes(bytes(size))
    messages = site.messages_of("source", "target", method="STAGED", account=ACCOUNT)
    assert messages[-1]["finished"]
    assert (site.there / "target").read_bytes() == bytes(size)
    assert debris() == []


def test_staged_to_a_target_that_appears_meanwhile(site: Site, debris: Debris) -> None:
    (site.here / "source").write_bytes(os.urandom(1 << 20) * 12)
    with site.transfer("source", "target", method="STAGED", account=ACCOUNT) as reply:
        lines = reply.iter_lines()
        next(lines)
        give(site.there / "target", b"somebody else's")
        *_, last = [json.loads(line) for line in lines if line]
    assert last["error"]["reason"] == "ALREADY_EXISTS"
    assert (site.there / "target").read_bytes() == b"somebody else's"
    assert debris() == []


def test_a_client_that_leaves_ends_the_jobs(site: Site, debris: Debris) -> None:
    (site.here / "source").write_bytes(os.urandom(1 << 20) * 64)
    with site.transfer("source", "target", method="STAGED", account=ACCOUNT) as reply:
        jobs = json.loads(next(reply.iter_lines()))["jobs"]
    until(lambda: not {state(site, job) for job in jobs} & ALIVE, "the end of both jobs")
    until(lambda: debris() == [], "tidying up")
    assert list(site.there.iterdir()) == []


def test_a_job_that_fails_is_told_in_its_own_words(site: Site, debris: Debris) -> None:
    (site.here / "source").write_bytes(os.urandom(1 << 20) * 12)
    with site.transfer("source", "target", method="STAGED", account=ACCOUNT) as reply:
        lines = reply.iter_lines()
        jobs = json.loads(next(lines))["jobs"]
        cancel = f"{site.base_url}/v1/systems/cluster/jobs/{jobs[0]['jobId']}:cancel"
        httpx.post(cancel, headers={"Authorization": f"Bearer {site.token}"}, timeout=30)
        *_, last = [json.loads(line) for line in lines if line]
    assert last["error"]["reason"] == "BACKEND_ERROR"
    assert f"Job {jobs[0]['jobId']} on system cluster" in last["error"]["message"]
    until(lambda: debris() == [], "tidying up")
    assert list(site.there.iterdir()) == []


def test_staged_without_an_account_takes_the_users_default_one(site: Site, debris: Debris) -> None:
    (site.here / "source").write_bytes(b"content")
    messages = site.messages_of("source", "target", method="STAGED")
    assert messages[-1]["finished"]
    assert (site.there / "target").read_bytes() == b"content"
    assert debris() == []


def give(path: Path, content: bytes) -> None:
    """A new file of alice's."""
    path.write_bytes(content)
    shutil.chown(path, "alice")


ALIVE = {"PENDING", "RUNNING", "SUSPENDED"}


def state(site: Site, job: dict[str, str]) -> str:
    """A job's state."""
    url = f"{site.base_url}/v1/systems/{job['system']}/jobs/{job['jobId']}"
    reply = httpx.get(url, headers={"Authorization": f"Bearer {site.token}"}, timeout=30)
    return str(reply.json()["jobs"][0]["state"])

"""A site in front of the real Slurm that stages by all methods, through a real MinIO; its callers are alice and bob."""

import copy
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.cluster import RECIPE, Cluster
from tests.e2e.sites import S3_KEY, output_of, staging_by
from tests.minio import MinioServer
from tests.ports import free_port
from tests.stack import PASSERELLE, running_site

SECONDS = 120
MIB = 1 << 20
TOKEN_SECONDS = 60
METHODS = ("s3", "streamer", "wormhole")
"""The staging methods of the site."""
SYSTEMS = {
    "cluster": (),
    "held": ("#SBATCH --hold",),
    "bare": ("export PATH=/nowhere",),  # where nodes have no Python
}
"""The cluster's names in this site, and the additional settings of transfer jobs in each."""


@dataclass(frozen=True)
class StagingSite:
    """The running site."""

    base_url: str
    cluster: Cluster
    store: MinioServer
    token: Callable[[str], str]
    """A fresh access token of a user."""
    earlier: frozenset[str]
    """Objects of others in the store when the site began."""

    def request(self, verb: str, where: str, user: str, **body: Any) -> httpx.Response:
        """The reply to a request of that user."""
        headers = {"Authorization": f"Bearer {self.token(user)}"}
        return httpx.request(
            verb,
            f"{self.base_url}{where}",
            json=body or None,
            headers=headers,
            timeout=SECONDS,
        )

    def upload(
        self, path: str, method: str, *, user: str = "alice", system: str = "cluster"
    ) -> httpx.Response:
        """The profile's `transfer/upload` of three bytes."""
        return self._transfer(
            "upload", path, method, user, system, fileSize=3, wormhole_code="7-a-b"
        )

    def download(
        self, path: str, method: str, *, user: str = "alice", system: str = "cluster"
    ) -> httpx.Response:
        """The profile's `transfer/download`."""
        return self._transfer("download", path, method, user, system)

    def _transfer(
        self, way: str, path: str, method: str, user: str, system: str, **more: Any
    ) -> httpx.Response:
        return self.request(
            "POST",
            f"/filesystem/{system}/transfer/{way}",
            user,
            path=path,
            transferDirectives={"transferMethod": method, **more},
        )

    def stage(self, verb: str, path: str, method: str, *, user: str = "alice") -> httpx.Response:
        """The native `stageUpload` of three bytes, or `stageDownload`."""
        more = {"sizeBytes": 3, "wormholeCode": "7-a-b"} if verb == "stageUpload" else {}
        url = f"/v1/systems/cluster/files:{verb}"
        return self.request("POST", url, user, path=path, method=method, **more)

    def cancel(self, job: dict[str, Any], user: str = "alice") -> None:
        """End a transfer's job."""
        path = f"/compute/{job['system']}/jobs/{job['jobId']}"
        self.request("DELETE", path, user).raise_for_status()

    def slurm(self, *command: str) -> str:
        """The output of a command of Slurm's administrator."""
        environment = os.environ | {"SLURM_CONF": str(self.cluster.slurm_conf)}
        return subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    def state(self, job: dict[str, Any]) -> str:
        """Slurm's word for the state of a job that it has not forgotten."""
        return self.slurm(
            "squeue", "--noheader", "-t", "all", "-o", "%T", "-j", job["jobId"]
        ).strip()

    def in_store(self) -> list[str]:
        """The objects and unfinished uploads that have come since the site began, of everybody."""
        return [name for name in stored(self.store) if name not in self.earlier]

    def unfinished(self, *jobs: dict[str, Any]) -> list[Path]:
        """The files of these transfers that are still there."""
        files = (
            Path(job["workingDirectory"], f".passerelle-transfer-{number_of(job)}") for job in jobs
        )
        return [path for path in files if path.exists()]

    def until(self, done: Callable[[], Any], describe: Callable[[], Any] = lambda: "") -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + SECONDS
        while not done():
            assert time.monotonic() < deadline, describe()
            time.sleep(0.1)

    def until_nothing_is_left(self, *jobs: dict[str, Any]) -> None:
        """Wait until nothing is left of these transfers, and the store is empty."""
        self.until(
            lambda: not self.unfinished(*jobs) and not self.in_store(),
            lambda: (self.unfinished(*jobs), self.in_store()),
        )


def stored(store: MinioServer) -> list[str]:
    """The objects and unfinished uploads in a store."""
    client = store.client
    uploads = (store.data / ".minio.sys" / "multipart").glob("*/*")
    objects = [
        f"{bucket.name}/{stored_object.object_name}"
        for bucket in client.list_buckets()
        for stored_object in client.list_objects(str(bucket.name), recursive=True)
    ]
    return objects + [str(path) for path in uploads if path.is_dir()]


def begun(reply: httpx.Response) -> dict[str, Any]:
    """A transfer's job."""
    assert reply.status_code == 201, reply.text
    return dict(reply.json()["transferJob"])


def put(reply: httpx.Response, content: bytes) -> None:
    """Do the caller's part of an upload."""
    directives = reply.json()["transferDirectives"]
    tags, size = [], directives["maxPartSize"]
    for number, url in enumerate(directives["partsUploadUrls"]):
        part = content[number * size :][:size]
        tags.append(httpx.put(url, content=part, timeout=60).raise_for_status().headers["ETag"])
    listed = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
        for number, tag in enumerate(tags, 1)
    )
    body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>"
    httpx.post(directives["completeUploadUrl"], content=body, timeout=60).raise_for_status()


def number_of(job: dict[str, Any]) -> str:
    """The UUID of a transfer, which its logs have in their names."""
    return Path(job["logs"]["outputLog"]).stem.rpartition("_")[2]


def log_of(job: dict[str, Any]) -> str:
    """All output of a job."""
    paths = (Path(path) for path in job["logs"].values())
    return "".join(path.read_text(errors="replace") for path in paths if path.exists())


@contextmanager
def staging_site(cluster: Cluster, store: MinioServer) -> Iterator[StagingSite]:
    """The site, inside the block."""
    site = yaml.safe_load(output_of(sys.executable, RECIPE / "configuration.py", cluster.directory))
    port = free_port()
    streamer = {"host": "127.0.0.1", "public_ips": ["127.0.0.1"], "port_range": [port, port + 9]}
    staging = [*staging_by(store), {"type": "streamer", "options": streamer}, {"type": "wormhole"}]
    [system] = site["systems"]
    system["data_operation"]["staging"] = staging
    site["systems"] = [_renamed(system, name, lines) for name, lines in SYSTEMS.items()]
    with tempfile.TemporaryDirectory() as name:
        configuration = Path(name) / "site.yaml"
        configuration.write_text(yaml.safe_dump(site))
        command = (PASSERELLE, "token", "--config", configuration, "--client")
        with running_site("--config", str(configuration), environment=S3_KEY) as ready:
            yield StagingSite(
                ready["ready"],
                cluster,
                store,
                _remembered(lambda user: output_of(*command, user, **S3_KEY).strip()),
                frozenset(stored(store)),
            )


def _remembered(fetch: Callable[[str], str]) -> Callable[[str], str]:
    """The same, without fetching a token again for a while."""
    tokens: dict[str, tuple[float, str]] = {}

    def token(user: str) -> str:
        if user not in tokens or time.monotonic() - tokens[user][0] > TOKEN_SECONDS:
            tokens[user] = (time.monotonic(), fetch(user))
        return tokens[user][1]

    return token


def _renamed(system: dict[str, Any], name: str, lines: tuple[str, ...]) -> dict[str, Any]:
    renamed = copy.deepcopy(system) | {"name": name}
    renamed["data_operation"]["datatransfer_jobs_directives"] += lines
    return renamed

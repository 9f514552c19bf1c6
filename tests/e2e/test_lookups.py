"""What a request costs besides its work: once warm, no service opens a file, imports or compiles a pattern for it."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.ports import free_port
from tests.stack import running_site, site_of_cluster

WATCH = Path(__file__).parent / "lookups"
TIMES = 2
SCRIPT = "#!/bin/sh\n#SBATCH --time=1\n#SBATCH --output=/dev/null\n"


@dataclass(frozen=True)
class Site:
    """A site with the system `system`, a client of it, and the file in which its services write what they look up.

    `work` is a directory with a `file`, and `job` the id of a job.
    """

    client: httpx.Client
    system: str
    work: str
    job: str
    lookups: Path

    def looked_up(self, since: int) -> list[dict[str, Any]]:
        """What was written after `since` bytes."""
        with self.lookups.open("rb") as file:
            file.seek(since)
            return [json.loads(line) for line in file]

    def filled(self, value: Any) -> Any:
        """`value` with this site's names in it."""
        if isinstance(value, dict):
            return {key: self.filled(inner) for key, inner in value.items()}
        if not isinstance(value, str):
            return value
        names = {"SYSTEM": self.system, "WORK": self.work, "JOB": self.job}
        for name, real in names.items():
            value = value.replace(name, real)
        return value


@pytest.fixture(scope="module", params=["local", "cluster"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """The embedded default, and a site in front of the real Slurm."""
    lookups = tmp_path_factory.mktemp("lookups") / "lines"
    watching = {"PYTHONPATH": str(WATCH), "PASSERELLE_TEST_LOOKUPS": str(lookups)}
    if request.param == "local":
        home = str(tmp_path_factory.mktemp("home"))
        watching["PASSERELLE_PORT"] = str(free_port())
        with (
            running_site(environment=watching) as ready,
            prepared(ready["ready"], ready["token"], "local", home, lookups) as made,
        ):
            yield made
    else:
        cluster = request.getfixturevalue("cluster")
        with (
            site_of_cluster(cluster, watching) as api,
            prepared(api.base_url, api.token("alice"), "cluster", "/home/alice", lookups) as made,
        ):
            yield made


@contextmanager
def prepared(url: str, token: str, system: str, home: str, lookups: Path) -> Iterator[Site]:
    """A site with what the calls are about, which goes at the end."""
    work = f"{home}/lookups-{uuid.uuid4()}"
    ops = f"/filesystem/{system}/ops"
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        client.post(f"{ops}/mkdir", json={"path": work}).raise_for_status()
        upload = client.post(f"{ops}/upload?path={work}", files={"file": ("file", b"content\n")})
        upload.raise_for_status()
        job = {"job": {"workingDirectory": work, "script": SCRIPT}}
        submitted = client.post(f"/compute/{system}/jobs", json=job).raise_for_status()
        yield Site(client, system, work, str(submitted.json()["jobId"]), lookups)
        client.delete(f"{ops}/rm?path={work}").raise_for_status()


OPS, V1 = "/filesystem/SYSTEM/ops", "/v1/systems/SYSTEM"
PATH = {"path": "WORK/file"}
JOB = {"workingDirectory": "WORK", "script": SCRIPT}
CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/status/systems", {}),
    ("GET", "/status/liveness/", {}),
    ("GET", "/status/SYSTEM/nodes", {}),
    ("GET", "/status/SYSTEM/partitions", {}),
    ("GET", "/status/SYSTEM/reservations", {}),
    ("GET", "/status/SYSTEM/userinfo", {}),
    ("GET", "/compute/SYSTEM/jobs", {}),
    ("GET", "/compute/SYSTEM/jobs/JOB", {}),
    ("GET", "/compute/SYSTEM/jobs/JOB/metadata", {}),
    ("POST", "/compute/SYSTEM/jobs", {"json": {"job": JOB}}),
    ("DELETE", "/compute/SYSTEM/jobs/JOB", {}),
    ("GET", f"{OPS}/stat?path=WORK/file", {}),
    ("GET", f"{OPS}/stat?path=WORK/none", {}),
    ("GET", f"{OPS}/ls?path=WORK", {}),
    ("GET", f"{OPS}/head?path=WORK/file", {}),
    ("GET", f"{OPS}/tail?path=WORK/file&lines=1", {}),
    ("GET", f"{OPS}/view?path=WORK/file", {}),
    ("GET", f"{OPS}/download?path=WORK/file", {}),
    ("GET", f"{OPS}/checksum?path=WORK/file", {}),
    ("GET", f"{OPS}/file?path=WORK/file", {}),
    ("POST", f"{OPS}/upload?path=WORK", {"files": {"file": "content"}}),
    ("POST", f"{OPS}/mkdir", {"json": {"path": "WORK/a", "parent": True}}),
    ("PUT", f"{OPS}/chmod", {"json": {**PATH, "mode": "644"}}),
    ("POST", f"{OPS}/symlink", {"json": {**PATH, "linkPath": "WORK/file"}}),
    ("POST", f"{OPS}/compress", {"json": {**PATH, "targetPath": "WORK/b.tar.gz"}}),
    ("DELETE", f"{OPS}/rm?path=WORK/none", {}),
    ("POST", "/filesystem/SYSTEM/transfer/cp", {"json": {**PATH, "targetPath": "WORK/c"}}),
    ("GET", "/v1/auth/whoami", {}),
    ("GET", "/v1/systems", {}),
    ("GET", "/v1/systems?page_size=1", {}),
    ("GET", V1, {}),
    ("GET", f"{V1}/nodes", {}),
    ("GET", f"{V1}/jobs", {}),
    ("GET", f"{V1}/jobs/JOB", {}),
    ("POST", f"{V1}/jobs", {"json": JOB}),
    ("POST", f"{V1}/jobs/JOB:cancel", {"json": {}}),
    ("GET", f"{V1}/files?path=WORK", {}),
    ("GET", f"{V1}/files:stat?path=WORK/file", {}),
    ("GET", f"{V1}/files:walk?path=WORK", {}),
    ("GET", f"{V1}/files:content?path=WORK/file", {}),
    ("PUT", f"{V1}/files:content?path=WORK/d", {"content": "d"}),
    ("GET", f"{V1}/files:checksum?path=WORK/file", {}),
    ("GET", f"{V1}/files:type?path=WORK/file", {}),
    ("GET", f"{V1}/files:usage?path=WORK/file", {}),
    ("GET", f"{V1}/files:archive?path=WORK/file", {}),
    ("POST", f"{V1}/files:copy", {"json": {**PATH, "target": "WORK/e"}}),
    ("POST", f"{V1}/uploads", {"json": {"path": "WORK/f", "size": "1"}}),
    ("GET", "/v1/systems/none", {}),
    ("GET", "/v1/systems", {"headers": {"authorization": "Bearer e30.e30.AAAA"}}),
    ("GET", "/no/such/path", {}),
]


def test_what_is_watched_is_seen(site: Site) -> None:
    """At the start of the services, that is."""
    lines = site.looked_up(0)
    assert {line["service"] for line in lines} == {"auth", "compute", "gateway", "storage"}
    assert {line["event"] for line in lines} >= {"open", "import", "compile"}


@pytest.mark.parametrize(
    ("method", "url", "body"), CALLS, ids=[f"{method} {url}" for method, url, _ in CALLS]
)
def test_a_warm_request_looks_nothing_up(
    site: Site, method: str, url: str, body: dict[str, Any]
) -> None:
    """Whatever its answer is: some are refused."""

    def call() -> None:
        for _ in range(TIMES):
            reply = site.client.request(method, site.filled(url), **site.filled(body))
            assert reply.status_code < 500, reply.text

    call()
    since = site.lookups.stat().st_size
    call()
    assert site.looked_up(since) == []

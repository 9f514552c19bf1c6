"""Jobs and files through the API, for users with each login shell and with start-up files that are no good."""

import hashlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deploy.cluster.configuration import cluster_site
from tests.cluster import Cluster
from tests.compat.tokens import Issuer, published_issuer
from tests.integration.login_shells import READING, SHELLS, Login, login_with, serving
from tests.stack import running_site

ACCOUNT = "proj1"
CONTENT = os.urandom(300_001)
SUM = hashlib.sha256(CONTENT).hexdigest()
PATIENCE = 60.0  # seconds until a job has run, on a busy machine
START_UP = {
    "noisy": "echo Welcome; sh -c 'echo Warning >&2; printf no-end >&2'",
    "slow": "sleep 0.4",
    "failing": "no-such-program; false",
}


class Users:
    """The users of one site; its SSH connections take new calls for so short that each reads start-up files anew."""

    def __init__(self, url: str, issuer: Issuer) -> None:
        self._url = url
        self._issuer = issuer

    def client(self, login: Login) -> httpx.Client:
        """A client of the whole API, as that user."""
        headers = {"Authorization": f"Bearer {self._issuer.token(login.name, aud='passerelle')}"}
        return httpx.Client(base_url=self._url, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def users(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Users]:
    """A site before an sshd that lets every user in, who may all run jobs."""
    names = ",".join(login_with(shell).name for shell in SHELLS)
    with serving(cluster) as sshd, published_issuer() as issuer:
        site = cluster_site(cluster.directory)
        [system] = site["systems"]
        host_key = cluster.known_hosts.read_text().split(" ", 1)[1].strip()
        address = {"host": sshd.host, "port": sshd.ssh_port, "host_keys": [host_key]}
        system["ssh"] = {**address, "timeout": {"command": 30, "age": 0.001}}
        del system["probing"], site["development"]
        site["auth"]["issuers"][0]["issuer"] = issuer.url
        config = tmp_path_factory.mktemp("site") / "site.yaml"
        config.write_text(yaml.safe_dump(site))
        _accounting(cluster, "add", "user", f"name={names}", f"account={ACCOUNT}")
        try:
            with running_site("--config", str(config), environment={}) as ready:
                yield Users(ready["ready"], issuer)
        finally:
            _accounting(cluster, "delete", "user", f"name={names}")


def _accounting(cluster: Cluster, *words: str) -> None:
    environment = os.environ | {"SLURM_CONF": str(cluster.slurm_conf)}
    subprocess.run(("sacctmgr", "-i", *words), env=environment, check=True, capture_output=True)


@pytest.mark.parametrize("shell", SHELLS)
def test_jobs_and_files(users: Users, shell: str) -> None:
    _all_works(users, login_with(shell))


@pytest.mark.parametrize("start_up", START_UP)
@pytest.mark.parametrize("shell", READING)
def test_jobs_and_files_where_start_up_files_are_no_good(
    users: Users, shell: str, start_up: str
) -> None:
    login = login_with(shell)
    login.start_with(START_UP[start_up] + "\n")
    _all_works(users, login)


@pytest.mark.parametrize("shell", READING)
def test_start_up_files_that_become_something_else_are_named(users: Users, shell: str) -> None:
    login = login_with(shell)
    login.start_with("exec echo 'no entry'\n")
    with users.client(login) as client:
        for reply in (
            _submitted(client, login),
            _uploaded(client, login),
            client.get("/filesystem/cluster/ops/ls", params={"path": str(login.home)}),
        ):
            assert reply.status_code == 500  # FirecREST's for a command that failed
            assert "start-up file" in reply.text
            assert "no entry" in reply.text


def _all_works(users: Users, login: Login) -> None:
    there = {"path": str(login.home / "it's up")}
    native = "/v1/systems/cluster/files:"
    with users.client(login) as client:
        job = _good(_submitted(client, login))["jobId"]
        assert _uploaded(client, login).status_code == 204
        listed = _good(client.get("/filesystem/cluster/ops/ls", params={"path": str(login.home)}))
        assert "it's up" in [entry["name"] for entry in listed["output"]]
        down = client.get("/filesystem/cluster/ops/download", params=there)
        assert down.content == CONTENT
        checked = _good(client.get("/filesystem/cluster/ops/checksum", params=there))
        assert checked["output"]["checksum"] == SUM
        written = client.put(f"{native}content", params=there, content=CONTENT[:-1])
        assert written.status_code == 200
        part = client.get(f"{native}content", params=there, headers={"range": "bytes=5-"})
        assert part.content == CONTENT[5:-1]
        assert _output(client, login, str(job)) == f"hello from {login.name}\n"


def _submitted(client: httpx.Client, login: Login) -> httpx.Response:
    job = {
        "name": "hello",
        "workingDirectory": str(login.home),
        "script": "#!/bin/sh\necho hello from $(id -un)\n",
        "standardOutput": str(login.home / "out"),
        "account": ACCOUNT,
    }
    return client.post("/compute/cluster/jobs", json={"job": job})


def _uploaded(client: httpx.Client, login: Login) -> httpx.Response:
    files = {"file": ("it's up", CONTENT)}
    where = {"path": str(login.home)}
    return client.post("/filesystem/cluster/ops/upload", params=where, files=files)


def _output(client: httpx.Client, login: Login, job: str) -> str:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        [one_job] = _good(client.get(f"/compute/cluster/jobs/{job}"))["jobs"]
        if one_job["status"]["state"] not in ("PENDING", "RUNNING", "COMPLETING"):
            break
        time.sleep(0.2)
    assert one_job["status"]["state"] == "COMPLETED"
    out: Path = login.home / "out"
    return str(
        _good(client.get("/filesystem/cluster/ops/head", params={"path": str(out)}))["output"][
            "content"
        ]
    )


def _good(reply: httpx.Response) -> dict[str, Any]:
    assert reply.is_success, reply.text
    return dict(reply.json())

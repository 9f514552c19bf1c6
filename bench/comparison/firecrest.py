"""FirecREST v2 itself, before the same cluster: a checkout of its source, and an interpreter with its requirements."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from bench.comparison.sides import Server
from tests.cluster import Cluster
from tests.compat.tokens import Issuer
from tests.ports import free_port

_READY_SECONDS = 60.0


@contextmanager
def running_firecrest(
    source: Path, python: Path, cluster: Cluster, issuer: Issuer, tokens: dict[str, str]
) -> Iterator[Server]:
    """FirecREST with one worker, its first health checks done; raises RuntimeError when it does not come up."""
    file, port = cluster.directory / "firecrest.yaml", free_port()
    file.write_text(yaml.safe_dump(_configuration(cluster, issuer)))
    with (cluster.directory / "log" / "firecrest.log").open("w") as log:
        process = subprocess.Popen(
            (python, "-m", "uvicorn", "firecrest.main:app", "--port", str(port)),
            cwd=source / "src",
            env=os.environ | {"YAML_CONFIG_FILE": str(file)},
            stdout=log,
            stderr=log,
        )
        try:
            server = Server("rival", f"http://127.0.0.1:{port}", tokens, (process.pid,))
            _wait(server, process, Path(log.name))
            yield server
        finally:
            process.terminate()
            process.wait(30)
            file.unlink()


def _configuration(cluster: Cluster, issuer: Issuer) -> dict[str, Any]:
    """As for one system with the day-long certificates that `up` made for its users."""
    return {
        "auth": {
            "authentication": {
                "token_url": f"{issuer.url}/token",
                "token_endpoint_auth_method": "client_secret_post",
                "public_certs": [f"{issuer.url}/jwks"],
                "username_claim": "preferred_username",
            }
        },
        "ssh_credentials": {
            "type": "SSHStaticKeys",
            "keys": {user: _key(cluster, user) for user in cluster.users},
        },
        "clusters": [
            {
                "name": "cluster",
                "ssh": {"host": cluster.host, "port": cluster.ssh_port, "max_clients": 500},
                "scheduler": {"type": "slurm", "version": "22.05.8"},
                "service_account": {"client_id": "alice", "secret": "not a secret"},
                "probing": {
                    "interval_check": 3600,
                    "services": {
                        kind: {"timeout": 10} for kind in ("ssh", "filesystem", "scheduler")
                    },
                },
                "file_systems": [{"path": "/home", "data_type": "users", "default_work_dir": True}],
            }
        ],
    }


def _key(cluster: Cluster, user: str) -> dict[str, str]:
    key = cluster.directory / "ssh" / user
    certificate = key.with_name(f"{user}-cert.pub").read_text().strip()
    return {"private_key": f"secret_file:{key}", "public_cert": certificate}


def _wait(server: Server, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Until the server answers and its first health checks are done."""
    headers = {"Authorization": f"Bearer {next(iter(server.tokens.values()))}"}
    deadline = time.monotonic() + _READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
        try:
            systems = httpx.get(f"{server.url}/status/systems", headers=headers).json()["systems"]
        except (httpx.TransportError, json.JSONDecodeError):
            continue
        if all(system["servicesHealth"] is not None for system in systems):
            return
    last = "\n".join(log.read_text().splitlines()[-5:])
    raise RuntimeError(f"FirecREST did not come up: {last}")

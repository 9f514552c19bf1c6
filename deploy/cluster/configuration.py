"""Prints a Passerelle configuration for a cluster that `deploy/cluster/up` started.

    deploy/cluster/up /var/tmp/lab
    python deploy/cluster/configuration.py /var/tmp/lab > site.yaml
    passerelle up --config site.yaml

The system is called `cluster`; the development issuer has a client for each of alice and bob, whose secrets are made
anew for each directory and kept in it.
"""

import secrets
import socket
import sys
from pathlib import Path
from typing import Any

import yaml

USERS = ("alice", "bob")


def cluster_site(directory: Path, *, gateway_port: int = 0) -> dict[str, Any]:
    """The configuration as data; `gateway_port` 0 picks a free one."""
    cluster = _environment(directory / "cluster.env")
    issuer = f"127.0.0.1:{_free_port()}"
    return {
        "systems": [_system(cluster, issuer, directory)],
        "auth": {
            "issuers": [{"issuer": f"http://{issuer}", "audience": ["passerelle"]}],
            "ssh_credentials": {"type": "ca", "options": {"key_file": cluster["USER_CA"]}},
        },
        "gateway": {"listen": f"127.0.0.1:{gateway_port or _free_port()}"},
        "development": {
            "issuer": {
                "listen": issuer,
                "key_file": str(directory / "issuer.key"),
                "clients": [_client(directory, user) for user in USERS],
            }
        },
    }


def _system(cluster: dict[str, str], issuer: str, directory: Path) -> dict[str, Any]:
    alice = _client(directory, "alice")
    return {
        "name": "cluster",
        "ssh": {
            "host": cluster["SSH_HOST"],
            "port": int(cluster["SSH_PORT"]),
            "known_hosts": cluster["KNOWN_HOSTS"],
        },
        "scheduler": {"type": "slurm", "version": "22.05.8"},
        "filesystems": [{"path": "/home", "data_type": "users", "default_work_dir": True}],
        "probing": {
            "service_account": {
                "token_url": f"http://{issuer}/token",
                "client_id": alice["id"],
                "client_secret": alice["secret"],
            }
        },
        "data_operation": {"datatransfer_jobs_directives": ["#SBATCH --account={account}"]},
    }


def _client(directory: Path, user: str) -> dict[str, str]:
    path = directory / f"{user}.secret"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24))
    return {"id": user, "secret": f"secret_file:{path}", "username": user}


def _environment(path: Path) -> dict[str, str]:
    pairs = (line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
    return {name.strip(): value.strip().strip("'\"") for name, value in pairs}


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


if __name__ == "__main__":
    yaml.safe_dump(cluster_site(Path(sys.argv[1])), sys.stdout, sort_keys=False)

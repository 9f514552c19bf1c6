"""What root installs for a server serves an account that has nothing: no name, no home, no capability."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests import real
from tests.cluster import Cluster
from tests.compat.tokens import published_issuer
from tests.ports import free_port
from tests.stack import running_site

TOP = Path(__file__).parents[2]
PYTHON = "/usr/bin/python3"  # outside home directories
NOBODY = 54321  # a uid, and gid, of no account


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory that every account can enter, with the installation in `venv`."""
    directory = Path(tempfile.mkdtemp(prefix="passerelle-production-"))
    try:
        directory.chmod(0o755)
        install = (
            PYTHON,
            TOP / "deploy" / "install.py",
            "--production",
            "--venv",
            directory / "venv",
        )
        done = subprocess.run(install, capture_output=True, text=True, timeout=600)
        if "cannot make virtual environments" in done.stderr:
            real.missing("production", done.stderr.strip())
        assert done.returncode == 0, done.stderr
        assert "NOTE" not in done.stderr  # of places that others cannot enter
        yield directory
    finally:
        shutil.rmtree(directory)


def test_an_account_without_anything_serves(cluster: Cluster, place: Path) -> None:
    own = place / "own"
    own.mkdir()
    shutil.copy(cluster.ca_key, own / "user_ca")
    with published_issuer() as issuer:
        (own / "site.yaml").write_text(yaml.safe_dump(_site(cluster, issuer.url, own)))
        for path in (own, *own.iterdir()):
            os.chown(path, NOBODY, NOBODY)
        without = ("--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all")
        command = (
            *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", *without),
            *("env", "-i", "PATH=/usr/bin:/bin", f"XDG_STATE_HOME={own}"),
            str(place / "venv" / "bin" / "passerelle"),
        )
        arguments = ("--config", str(own / "site.yaml"))
        with running_site(*arguments, environment={}, command=command) as ready:
            assert os.stat(f"/proc/{ready['pid']}").st_uid == NOBODY
            headers = {"Authorization": f"Bearer {issuer.token('alice')}"}
            with httpx.Client(base_url=ready["ready"], headers=headers, timeout=60) as http:
                assert http.get("/status/lab/nodes").json()["nodes"]
                written = http.put("/v1/systems/lab/files:content?path=/home/alice/by-nobody")
                assert written.is_success, written.text
                removed = http.delete("/filesystem/lab/ops/rm?path=/home/alice/by-nobody")
                assert removed.status_code == 204, removed.text


def _site(cluster: Cluster, issuer: str, own: Path) -> dict[str, object]:
    ssh = {"host": cluster.host, "port": cluster.ssh_port}
    host_key = cluster.known_hosts.read_text().split(" ", 1)[1].strip()
    system = {
        "name": "lab",
        "ssh": {**ssh, "host_keys": [host_key]},
        "scheduler": {"type": "slurm"},
        "filesystems": [{"path": "/home", "data_type": "users"}],
    }
    credentials = {"type": "ca", "options": {"key_file": str(own / "user_ca")}}
    auth = {"issuers": [{"issuer": issuer, "any_audience": True}], "ssh_credentials": credentials}
    return {
        "systems": [system],
        "auth": auth,
        "gateway": {"listen": f"127.0.0.1:{free_port()}"},
    }

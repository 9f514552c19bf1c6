"""The measured stack: a real sshd and Slurm, and `passerelle up` in front of them."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from passerelle.cli.up import site_file
from tests.cluster import Cluster, running_cluster
from tests.compat.tokens import Issuer, published_issuer
from tests.stack import running_site

CONFIGURATION = Path(__file__).parents[1] / "deploy" / "cluster" / "configuration.py"
_TOKEN_LIFE = 86400  # seconds


@dataclass(frozen=True)
class Stack:
    """A running gateway with the system `cluster`; `pid` is that of `passerelle up`, `site` its configuration."""

    base_url: str
    cluster: Cluster
    issuer: Issuer
    pid: int
    site: dict[str, Any]

    def token(self, user: str = "alice") -> str:
        """An access token for a user of the cluster, which any server accepts that trusts the issuer's keys."""
        return self.issuer.token(user, lifetime=_TOKEN_LIFE)


def begin() -> None:
    """First of all in a program that starts a stack: exits unless it is root; SIGTERM then ends it as Ctrl-C does.

    So what it started is ended and what it made is removed, however it ends.
    """
    if os.geteuid() != 0:
        sys.exit("The bench starts a real sshd and Slurm, for which it has to be root on Debian.")

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


@contextmanager
def running_stack(
    directory: Path | None = None, *options: str, workers: int = 1
) -> Iterator[Stack]:
    """The gateway before the cluster that runs in `directory`, or else one of its own that `options` are for (`up`).

    `workers` is how many storage has.
    """
    if directory is None:
        with (
            running_cluster("--name", "bench", *options) as cluster,
            _gateway(cluster, workers) as stack,
        ):
            yield stack
        return
    with _gateway(Cluster.at(directory), workers) as stack:
        yield stack


@contextmanager
def _gateway(cluster: Cluster, workers: int) -> Iterator[Stack]:
    with published_issuer() as issuer, tempfile.TemporaryDirectory() as folder:
        written = _site(cluster, issuer, workers)
        site, file = site_file.completed(written), Path(folder) / "site.yaml"
        site_file.write_private(file, yaml.safe_dump(site))
        with running_site("--config", str(file), environment={}) as ready:
            yield Stack(ready["ready"], cluster, issuer, ready["pid"], site)


def _site(cluster: Cluster, issuer: Issuer, workers: int) -> dict[str, Any]:
    """The cluster's configuration with the bench's own issuer, which has a token for every user."""
    printed = subprocess.run(
        (sys.executable, str(CONFIGURATION), str(cluster.directory)),
        check=True,
        capture_output=True,
        text=True,
    )
    site = dict(yaml.safe_load(printed.stdout))
    del site["development"]
    site["auth"]["issuers"] = [{"issuer": issuer.url, "any_audience": True}]
    site["systems"][0]["probing"]["service_account"] |= {
        "token_url": f"{issuer.url}/token",
        "auth_method": "client_secret_post",
    }
    # Speed is measured, not the limits.
    site["services"] = {"calls_per_user": None, "storage": {"workers": workers}}
    site["systems"][0]["ssh"] |= {"max_connections": 1000, "timeout": {"idle": 3600}}
    return site

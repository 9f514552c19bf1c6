"""The site of these tests: a real Slurm and OpenSSH, with all three ways of staging."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from firecrest import ClientCredentialsAuth
from firecrest.v2 import Firecrest

from tests.clients.directories import new_directory
from tests.clients.pyfirecrest_run import Site
from tests.cluster import RECIPE, Cluster
from tests.e2e.sites import S3_KEY, staging_by
from tests.mailbox import Mailbox
from tests.minio import MinioServer
from tests.ports import free_ports
from tests.stack import running_site


@pytest.fixture(scope="session")
def site(cluster: Cluster, minio: MinioServer, mailbox: Mailbox) -> Iterator[Site]:
    """Alice's; `directory` is her home."""
    completed = subprocess.run(
        (sys.executable, str(RECIPE / "configuration.py"), str(cluster.directory)),
        capture_output=True,
        check=True,
        timeout=60,
    )
    configuration = yaml.safe_load(completed.stdout)
    system = configuration["systems"][0]
    system["data_operation"]["staging"] = _staging(minio, mailbox)
    # A machine that is busy with all this at once is slow, not broken.
    system["ssh"]["timeout"] = {"connection": 60, "login": 60, "command": 60}
    system["scheduler"]["timeout"] = 60
    alice = configuration["development"]["issuer"]["clients"][0]
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "site.yaml"
        path.write_text(yaml.safe_dump(configuration))
        with running_site("--config", str(path), environment=S3_KEY) as ready:
            yield Site(
                url=ready["ready"],
                token_url=system["probing"]["service_account"]["token_url"],
                client_id=alice["id"],
                client_secret=Path(alice["secret"].removeprefix("secret_file:")).read_text(),
                system="cluster",
                directory="/home/alice",
                account="proj1sub",
            )


def _staging(minio: MinioServer, mailbox: Mailbox) -> list[dict[str, Any]]:
    first = free_ports(20)
    streamer = {
        "host": "127.0.0.1",
        "public_ips": ["127.0.0.1"],
        "port_range": [first, first + 19],
        "attempts": 40_000,  # a busy machine needs long from a job's start to where it listens
    }
    wormhole = {"relay_url": mailbox.relay_url, "transit_helper": mailbox.transit_helper}
    return [
        *staging_by(minio),
        {"type": "streamer", "options": streamer},
        {"type": "wormhole", "options": wormhole},
    ]


@pytest.fixture(scope="session")
def owner(site: Site) -> Iterator[Firecrest]:
    """A current client of alice's."""
    credentials = ClientCredentialsAuth(site.client_id, site.client_secret, site.token_url)
    client = Firecrest(site.url, authorization=credentials)
    yield client
    client.close_session()


@pytest.fixture
def directory(site: Site, owner: Firecrest) -> Iterator[str]:
    """A new, empty directory on the system."""
    with new_directory(site, owner) as path:
        yield path

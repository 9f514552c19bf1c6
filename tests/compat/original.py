"""Replays the recorded cases on the original FirecREST v2, to prove the replay itself.

    python -m tests.compat.original SOURCE PYTHON [CASE...]

SOURCE is a checkout of FirecREST v2, PYTHON an interpreter with its requirements, CASE... the cases to
run (all without). With `--serve` it only starts the server and prints how to reach it. Needs Debian
and root, like the cluster.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from string import Template

import httpx

from tests.cluster import Cluster, given_cluster, running_cluster
from tests.compat.cases import recorded
from tests.compat.replay import FirecrestApi, Replay
from tests.compat.tokens import published_issuer
from tests.ports import free_port

TEMPLATE = Path(__file__).parent / "firecrest.yaml"


def firecrest_configuration(cluster: Cluster, issuer_url: str) -> str:
    """A FirecREST v2 configuration file for `cluster`, with the day-long certificates that `up` made."""
    keys = cluster.ca_key.parent
    return Template(TEMPLATE.read_text()).substitute(
        ISSUER=issuer_url,
        SSH_PORT=cluster.ssh_port,
        CLOSED_PORT=free_port(),
        SERVICE_SECRET="not a secret",
        ALICE_KEY=keys / "alice",
        BOB_KEY=keys / "bob",
        ALICE_CERTIFICATE=(keys / "alice-cert.pub").read_text().strip(),
        BOB_CERTIFICATE=(keys / "bob-cert.pub").read_text().strip(),
    )


@contextmanager
def original_firecrest(source: Path, python: str, cluster: Cluster) -> Iterator[FirecrestApi]:
    """FirecREST v2 itself, in front of `cluster`."""
    configuration, port = cluster.directory / "firecrest.yaml", free_port()
    with (
        published_issuer() as issuer,
        (cluster.directory / "log" / "firecrest.log").open("w") as log,
    ):
        configuration.write_text(firecrest_configuration(cluster, issuer.url))
        server = subprocess.Popen(
            (python, "-m", "uvicorn", "firecrest.main:app", "--port", str(port)),
            cwd=source / "src",
            env=os.environ | {"YAML_CONFIG_FILE": str(configuration)},
            stdout=log,
            stderr=log,
        )
        try:
            api = FirecrestApi(f"http://127.0.0.1:{port}", issuer.token)
            _wait_until_checked(api)
            yield api
        finally:
            server.terminate()
            server.wait(30)


def _wait_until_checked(api: FirecrestApi) -> None:
    """Until the server answers and its first health checks are done."""
    headers = {"Authorization": "Bearer " + api.token("alice")}
    for _ in range(300):
        time.sleep(0.1)
        try:
            systems = httpx.get(f"{api.base_url}/status/systems", headers=headers).json()["systems"]
        except httpx.TransportError:
            continue
        if all(system["servicesHealth"] is not None for system in systems):
            return
    raise TimeoutError("FirecREST did not answer within 30 s")


def main() -> None:
    """Replay, and print each case that differs and their number."""
    source, python, *names = sys.argv[1:]
    failed = 0
    there = given_cluster()
    with (
        nullcontext(there) if there else running_cluster() as cluster,
        original_firecrest(Path(source), python, cluster) as api,
    ):
        if names == ["--serve"]:
            print(api.base_url, "ALICE=" + api.token("alice"), "BOB=" + api.token("bob"), sep="\n")
            sys.stdin.read()
            return
        cases = [case for case in recorded() if not names or case.name in names]
        with Replay.on(api) as replay:
            for case in cases:
                outcome = replay.outcome(case)
                if not outcome.agrees:
                    failed += 1
                    print(f"{case.name}: {outcome}", flush=True)
    print(f"{len(cases) - failed} of {len(cases)} cases agree")


if __name__ == "__main__":
    main()

"""What is measured: a real sshd and Slurm, and `passerelle up` in front of them."""

import json
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import yaml

from tests.cluster import Cluster, running_cluster

REPO = Path(__file__).parents[1]
PASSERELLE = Path(sys.executable).parent / "passerelle"
READY_SECONDS = 60.0


@dataclass(frozen=True)
class Stack:
    """A running gateway with the system `cluster`; `token` is alice's, `pid` that of `passerelle up`."""

    base_url: str
    token: str
    cluster: Cluster
    pid: int


@contextmanager
def running_stack(cluster_directory: Path | None) -> Iterator[Stack]:
    """The gateway before a cluster with sshd's own MaxSessions 10: an already running one, or one of its own."""
    if cluster_directory is not None:
        with _gateway(Cluster.at(cluster_directory)) as stack:
            yield stack
        return
    with running_cluster() as cluster, _gateway(cluster) as stack:
        yield stack


@contextmanager
def _gateway(cluster: Cluster) -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="passerelle-bench-") as folder:
        config = Path(folder) / "site.yaml"
        config.write_text(
            _output(sys.executable, REPO / "deploy/cluster/configuration.py", cluster.directory)
        )
        listen = yaml.safe_load(config.read_text())["gateway"]["listen"]
        up = subprocess.Popen(
            (PASSERELLE, "up", "--config", config), stdout=subprocess.PIPE, text=True
        )
        try:
            _wait_ready(up)
            token = _output(PASSERELLE, "token", "--config", config, "--client", "alice").strip()
            yield Stack(f"http://{listen}", token, cluster, up.pid)
        finally:
            up.terminate()
            up.wait(30)


def _output(*argv: object) -> str:
    return subprocess.run(
        [str(word) for word in argv], check=True, capture_output=True, text=True
    ).stdout


def _wait_ready(up: "subprocess.Popen[str]") -> None:
    watchdog = threading.Timer(READY_SECONDS, up.terminate)
    watchdog.start()
    try:
        if not any(line.startswith("READY") for line in cast(IO[str], up.stdout)):
            raise RuntimeError("passerelle up did not become ready; it told why above")
    finally:
        watchdog.cancel()


def resident_mib(pid: int) -> float:
    """Proportional set size of a process and all its descendants, in MiB (proc(5), smaps_rollup)."""
    return sum(memory_mib(pid).values())


def memory_mib(pid: int) -> dict[str, float]:
    """The same for each: services by their names, `passerelle up` as `up`."""
    found: dict[str, float] = {}
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        try:
            rollup = Path(f"/proc/{current}/smaps_rollup").read_text()
            words = Path(f"/proc/{current}/cmdline").read_text().split("\0")
            for task in Path(f"/proc/{current}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        pss = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        found[_name(words)] = found.get(_name(words), 0.0) + pss / 1024
    return found


def _name(words: list[str]) -> str:
    if "serve" in words:
        return words[words.index("serve") + 1]
    return "up" if "up" in words else Path(words[0]).name


def submit_job(stack: Stack) -> str:
    """The id of a job to ask about."""
    script = "#!/bin/sh\n#SBATCH --time=1\ntrue\n"
    job = {
        "name": "bench",
        "workingDirectory": "/home/alice",
        "script": script,
        "standardOutput": "/dev/null",
    }
    call = urllib.request.Request(  # noqa: S310  # http to loopback
        f"{stack.base_url}/compute/cluster/jobs",
        data=json.dumps({"job": job}).encode(),
        headers={"Authorization": f"Bearer {stack.token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(call) as reply:  # noqa: S310
        return str(json.load(reply)["jobId"])

"""Another real sshd in front of the cluster, for tests that need it to be set otherwise."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import Cluster
from tests.ports import free_port
from tests.servers import ending_with_us


@contextmanager
def another_sshd(cluster: Cluster, *settings: str, without: str = "PidFile") -> Iterator[int]:
    """The port of an sshd with these settings before the cluster's own, of which those `without` are left out."""
    port, given = free_port(), (cluster.directory / "ssh" / "sshd_config").read_text()
    left_out = ("Port ", "PidFile ", without)
    lines = [line for line in given.splitlines() if not line.startswith(left_out)]
    with tempfile.TemporaryDirectory(prefix="passerelle-sshd-") as name:
        config = Path(name) / "config"
        config.write_text("\n".join([f"Port {port}", "PidFile none", *settings, *lines]) + "\n")
        server = subprocess.Popen(
            ending_with_us("/usr/sbin/sshd", "-D", "-e", "-f", str(config)),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stderr is not None
            words = next((line for line in server.stderr if "listening" in line), None)
            if words is None:
                raise RuntimeError(f"sshd does not start: {server.wait(10)}")
            yield port
        finally:
            server.terminate()
            server.communicate(timeout=10)

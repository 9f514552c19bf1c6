"""An OpenSSH server of a test's own."""

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.servers import ending_with_us

SSHD = "/usr/sbin/sshd"


@contextmanager
def running_sshd(directory: Path, lines: Sequence[str]) -> Iterator[Path]:
    """sshd with these lines as its configuration, from when it listens; its log, which is kept in `directory`."""
    log, configuration = directory / "log", directory / "sshd_config"
    configuration.write_text("\n".join(lines) + "\n")
    log.touch()
    command = (SSHD, "-D", "-f", str(configuration), "-E", str(log))
    server = subprocess.Popen(ending_with_us(*command))
    try:
        while "listening" not in log.read_text():
            assert server.poll() is None, log.read_text()
            time.sleep(0.02)
        yield log
    finally:
        server.terminate()
        server.wait()

"""What a test run leaves when it is killed: servers end with it, and the next run removes its directory."""

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.parallel import abandoned, owned

TOP = Path(__file__).parents[2]
PATIENCE = 30.0  # seconds
STARTER = """
import subprocess, time
from tests.servers import ending_with_us
print(subprocess.Popen(ending_with_us("sleep", "300")).pid, flush=True)
time.sleep(300)
"""
SUITE = """
import os
def test_that_is_killed():
    os.kill(os.getpid(), int(os.environ["WITH"]))
"""


def test_a_server_ends_with_the_process_that_started_it() -> None:
    command = (sys.executable, "-c", STARTER)
    with subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        while (
            Path(f"/proc/{pid}/comm").read_text() != "sleep\n"
        ):  # setpriv has asked for the signal then
            time.sleep(0.01)
        server = os.pidfd_open(pid)
        starter.kill()
    ended, _, _ = select.select([server], [], [], PATIENCE)
    os.close(server)
    assert ended


def test_the_directory_of_a_run_is_removed_when_nobody_holds_it(tmp_path: Path) -> None:
    living, killed = tmp_path / "passerelle-run-living", tmp_path / "passerelle-run-killed"
    for run in (living, killed):
        run.mkdir()
    owned(killed).close()
    with owned(living):
        assert list(abandoned(tmp_path)) == [killed]
    assert list(tmp_path.iterdir()) == [living]


def test_a_run_removes_its_directory_when_it_is_told_to_end(tmp_path: Path) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    assert _run(tmp_path, signal.SIGKILL) == -signal.SIGKILL
    (left,) = tmp_path.glob("passerelle-run-*")
    assert _run(tmp_path, signal.SIGTERM) == 2  # pytest's status of an interrupted run
    assert not left.exists()
    assert not list(tmp_path.glob("passerelle-run-*"))


def _run(directory: Path, number: signal.Signals) -> int:
    """The exit status of a run that gets this signal."""
    plugins = ("-p", "tests.parallel", "-p", "tests.cluster", "-p", "no:cacheprovider")
    suite = directory / "test_suite.py"
    return subprocess.run(
        (sys.executable, "-m", "pytest", *plugins, "--rootdir", directory, suite),
        cwd=TOP,
        env=os.environ | {"TMPDIR": str(directory), "WITH": str(int(number))},
        capture_output=True,
        timeout=120,
    ).returncode

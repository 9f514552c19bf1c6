"""A real Keycloak for the tests, from Maven Central by `deploy/keycloak-server`.

Where that cannot run, the tests that ask for it are skipped with the reason, or fail in the strict mode.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests import real
from tests.ports import free_port
from tests.servers import ending_with_us

RECIPE = Path(__file__).parents[1] / "deploy" / "keycloak-server"
CANNOT_RUN_HERE = 77
LOAD_SECONDS = 900
START_SECONDS = 300
ADMIN, PASSWORD = "admin", "a-password-of-this-test-run"


@contextmanager
def running_keycloak(log: Path) -> Iterator[tuple[str, Path]]:
    """A Keycloak with its data in memory: its URL, and the directory of its commands. Skips where there can be none."""
    home = _home()
    port, url = free_port(), ""
    url = f"http://127.0.0.1:{port}"
    command = (
        str(home / "bin" / "kc.sh"),
        "start",
        "--optimized",
        "--http-enabled=true",
        "--http-host=127.0.0.1",
        f"--http-port={port}",
        f"--http-management-port={free_port()}",
        f"--hostname={url}",
        "--cache=local",
    )
    administrator = {
        "KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN,
        "KC_BOOTSTRAP_ADMIN_PASSWORD": PASSWORD,
    }
    with log.open("wb") as words:
        process = subprocess.Popen(
            ending_with_us(*command),
            env=os.environ | administrator,
            stdout=words,
            stderr=words,
        )
    try:
        _wait(process, url, log)
        real.exercised("Keycloak", home.name.removeprefix("keycloak-"))
        yield url, home / "bin"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _home() -> Path:
    done = subprocess.run(
        (RECIPE,), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LOAD_SECONDS
    )
    if done.returncode == CANNOT_RUN_HERE:
        real.missing("Keycloak", done.stderr.strip())
    if done.returncode:
        raise RuntimeError(f"deploy/keycloak-server failed: {done.stderr[-2000:]}")
    return Path(done.stdout.strip())


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(log.read_text()[-2000:])
        time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/realms/master").status_code == 200
    except httpx.TransportError:
        return False

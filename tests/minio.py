"""A real MinIO server for the tests.

PASSERELLE_MINIO names its program; without it, `minio` on PATH is used, else what `deploy/minio` builds with Go. Where
there is neither, the tests that ask for it are skipped with the reason, or fail in the strict mode.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from minio import Minio

from tests import real
from tests.ports import free_port
from tests.servers import ending_with_us

RECIPE = Path(__file__).parents[1] / "deploy" / "minio"
BUILD_SECONDS = 1800
START_SECONDS = 180
CANNOT_RUN_HERE = 77
ACCESS_KEY = "passerelle-test"
SECRET_KEY = "a-secret-of-this-test-run"


class MinioServer:
    """A server with its data in one directory, which can be killed and started again on the same port.

    `certificates`, if any, is a directory with public.crt and private.key: it speaks TLS then.
    """

    def __init__(self, program: str, data: Path, certificates: Path | None = None) -> None:
        self._certificates = certificates
        self._program = program
        self.data = data
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"{'https' if self._certificates else 'http'}://{self.host}"

    @property
    def client(self) -> Minio:
        """An administrator's client."""
        return Minio(self.host, ACCESS_KEY, SECRET_KEY, secure=False, region="us-east-1")

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.data.parent / "minio.log").open("ab") as log:
            self._process = subprocess.Popen(
                ending_with_us(*self._command()),
                env=os.environ
                | {"MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY}
                | {"MINIO_BROWSER": "off", "MINIO_CI_CD": "1"},
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.data.parent / "minio.log").read_text()[-2000:])
            time.sleep(0.1)

    def _command(self) -> tuple[str, ...]:
        tls = ("--certs-dir", str(self._certificates)) if self._certificates else ()
        return (self._program, "server", "--quiet", "--address", self.host, *tls, str(self.data))

    def _answers(self) -> bool:
        ready = f"{self.url}/minio/health/ready"
        try:
            return httpx.get(ready, timeout=5, verify=False).status_code == 200  # noqa: S501  # only whether
        except httpx.TransportError:
            return False

    def stop(self, number: int = signal.SIGKILL) -> None:
        """Kill it, if it runs."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(START_SECONDS)
            self._process = None

    def version(self) -> str:
        """Its version."""
        done = subprocess.run(
            (self._program, "--version"), capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout.splitlines()[0]


def _program() -> str:
    """Where MinIO is; skips or fails the test where it cannot be had."""
    if program := os.environ.get("PASSERELLE_MINIO") or shutil.which("minio"):
        return program
    done = subprocess.run(
        (str(RECIPE),),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if done.returncode == CANNOT_RUN_HERE:
        real.missing("MinIO", done.stderr.strip())
    if done.returncode:
        raise RuntimeError(f"deploy/minio failed: {done.stderr[-2000:]}")
    return done.stdout.strip()


@contextmanager
def running_minio(certificates: Path | None = None) -> Iterator[MinioServer]:
    """A server of its own, stopped and removed at the end; see MinioServer."""
    program = _program()
    with tempfile.TemporaryDirectory(prefix="passerelle-minio-") as name:
        data = Path(name) / "data"
        data.mkdir()
        server = MinioServer(program, data, certificates)
        try:
            server.start()
            real.exercised("MinIO", server.version())
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def minio() -> Iterator[MinioServer]:
    """The object store of this test run; a test that kills it starts it again."""
    with running_minio() as server:
        yield server

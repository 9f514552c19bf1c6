"""The servers of magic-wormhole on loopback: the mailbox, where codes meet, and the transit relay."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

from tests import real
from tests.ports import free_port
from tests.servers import ending_with_us

START_SECONDS = 60
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Mailbox:
    """Where the servers are, as magic-wormhole wants to know it."""

    relay_url: str
    transit_helper: str

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a `wormhole` that uses them, and finds itself."""
        where = {
            "WORMHOLE_RELAY_URL": self.relay_url,
            "WORMHOLE_TRANSIT_HELPER": self.transit_helper,
        }
        return os.environ | where | {"PATH": f"{BIN}:{os.environ['PATH']}"}


@pytest.fixture(scope="session")
def mailbox() -> Iterator[Mailbox]:
    """Both servers, for the whole run."""
    real.exercised("magic-wormhole", version("magic-wormhole"))
    with ExitStack() as stack:
        ports = [
            stack.enter_context(_serving(name)) for name in ("wormhole-mailbox", "transitrelay")
        ]
        yield Mailbox(f"ws://127.0.0.1:{ports[0]}/v1", f"tcp:127.0.0.1:{ports[1]}")


@contextmanager
def _serving(plugin: str) -> Iterator[int]:
    port = free_port()
    endpoint = f"--port=tcp:{port}:interface=127.0.0.1"
    command = ending_with_us(str(BIN / "twist"), plugin, endpoint)
    with tempfile.TemporaryDirectory() as directory, open(f"{directory}/log", "w+") as log:
        # It keeps its state in the directory where it runs.
        server = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log)
        try:
            _wait_for(port, server, log.name)
            yield port
        finally:
            server.terminate()
            server.wait(START_SECONDS)


def _wait_for(port: int, server: "subprocess.Popen[bytes]", log: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("it did not start: " + Path(log).read_text()[-2000:])

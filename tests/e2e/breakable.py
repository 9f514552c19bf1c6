"""A gateway before the real OpenSSH that a test may break: its processes may be killed, its SSH connections cut."""

import os
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from deploy.cluster.configuration import cluster_site
from tests.cluster import Cluster
from tests.stack import PASSERELLE, running_site

PATIENCE = 30.0  # seconds for a process to come back


class Line:
    """The line between the gateway and sshd: passes bytes to and fro until it is cut, and then for new connections."""

    def __init__(self, host: str, port: int) -> None:
        self._there = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection, as a failing network would."""
        ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let no more connections in."""
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                far = socket.create_connection(self._there)
                self._ends += (near, far)
                threading.Thread(target=_pass_on, args=(near, far), daemon=True).start()


def _pass_on(near: socket.socket, far: socket.socket) -> None:
    other = {near: far, far: near}
    with near, far, suppress(OSError), selectors.DefaultSelector() as ready:
        ready.register(near, selectors.EVENT_READ)
        ready.register(far, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                end: Any = key.fileobj
                if not (data := end.recv(1 << 18)):
                    return
                other[end].sendall(data)


@dataclass(frozen=True)
class Breakable:
    """The gateway: its URL and alice's headers, the process id of `passerelle up`, and its line to the system."""

    url: str
    headers: dict[str, str]
    pid: int
    line: Line

    def client(self) -> httpx.Client:
        """A client of the native API of the system."""
        return httpx.Client(base_url=self.url, headers=self.headers, timeout=60)

    def kill(self, service: str) -> None:
        """kill -9 of a service; it is started again."""
        os.kill(self._process(service), signal.SIGKILL)

    def _process(self, service: str) -> int:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for pid in _children(self.pid):
                argv = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                if "serve" in argv and service in argv:
                    return pid
            time.sleep(0.05)
        raise AssertionError(f"{service} did not come back")


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


@contextmanager
def breakable(cluster: Cluster, directory: Path) -> Iterator[Breakable]:
    """A gateway of its own before `cluster`, until the block ends."""
    line = Line(cluster.host, cluster.ssh_port)
    site, config = cluster_site(cluster.directory), directory / "site.yaml"
    host_key = cluster.known_hosts.read_text().split(" ", 1)[1].strip()
    address = {"host": "127.0.0.1", "port": line.port, "host_keys": [host_key]}
    site["systems"][0]["ssh"] = {**address, "timeout": {"command": 30}}
    site["services"] = {"compute": {"workers": 1}, "storage": {"workers": 1}}
    config.write_text(yaml.safe_dump(site))
    try:
        with running_site("--config", str(config), environment={}) as ready:
            token = ("token", "--config", str(config), "--client", "alice")
            completed = subprocess.run(
                (PASSERELLE, *token), capture_output=True, text=True, check=True, timeout=60
            )
            headers = {"Authorization": f"Bearer {completed.stdout.strip()}"}
            url = f"{ready['ready']}/v1/systems/cluster/"
            yield Breakable(url, headers, ready["pid"], line)
    finally:
        line.close()

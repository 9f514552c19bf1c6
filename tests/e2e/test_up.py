"""`passerelle up` as its users run it: from READY to a clean end, and what it does when processes die."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests import real
from tests.certificates import certificate
from tests.ports import free_port
from tests.stack import PASSERELLE, running_site, written_embedded

SERVICES = ("auth", "compute", "storage", "gateway", "development", "envoy")
PATIENCE = 20.0  # seconds for a process to come back


@dataclass(frozen=True)
class Own:
    """An instance that a test may break."""

    ready: dict[str, Any]
    environment: dict[str, str]
    work: Path

    def processes(self) -> dict[str, int]:
        """The process ids of its children, by service."""
        collected = {}
        for pid in _children(self.ready["pid"]):
            argv = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            collected[argv[argv.index("serve") + 1] if "serve" in argv else "envoy"] = pid
        return collected

    @property
    def run_directory(self) -> Path:
        """The private directory of this run."""
        argv = Path(f"/proc/{self.processes()['auth']}/cmdline").read_text().split("\0")
        return Path(argv[argv.index("--config") + 1]).parent

    def get(self, path: str) -> httpx.Response:
        """One request, with the token that `up` printed."""
        headers = {"Authorization": f"Bearer {self.ready['token']}"}
        return httpx.get(self.ready["ready"] + path, headers=headers, timeout=30)

    def submit(self, script: str) -> str:
        """The id of a new job."""
        reply = httpx.post(
            f"{self.ready['ready']}/compute/local/jobs",
            headers={"Authorization": f"Bearer {self.ready['token']}"},
            json={"job": {"workingDirectory": str(self.work), "script": script}},
            timeout=30,
        )
        assert reply.status_code == 201, reply.text
        return str(reply.json()["jobId"])

    def state(self, job: str) -> str:
        """A job's state."""
        reply = self.get(f"/compute/local/jobs/{job}")
        assert reply.status_code == 200, reply.text
        return str(reply.json()["jobs"][0]["status"]["state"])

    def next_reply(self, path: str) -> httpx.Response:
        """The reply to the first request that finds the door open: a killed Envoy has no socket for a moment."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self.get(path)
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    """An instance of this module's own."""
    place = tmp_path_factory.mktemp("up")
    environment = {"PASSERELLE_PORT": str(free_port()), "XDG_STATE_HOME": str(place / "state")}
    (place / "work").mkdir()
    with running_site(environment=environment) as ready:
        real.exercised("embedded stack", "passerelle up")
        yield Own(ready, environment, place / "work")


def test_every_service_runs_as_a_process_of_its_own(own: Own) -> None:
    assert set(own.processes()) == set(SERVICES)


def test_nothing_secret_stands_in_an_argument(own: Own) -> None:
    site = own.run_directory / "site.yaml"
    assert site.stat().st_mode & 0o077 == 0
    assert site.parent.stat().st_mode & 0o077 == 0
    secret = Path(own.environment["XDG_STATE_HOME"]).glob("passerelle/*/client_secret")
    words = [next(secret).read_text(), own.ready["token"]]
    for pid in (own.ready["pid"], *own.processes().values()):
        command_line = Path(f"/proc/{pid}/cmdline").read_text()
        assert not any(word in command_line for word in words)


def test_both_surfaces_answer(own: Own) -> None:
    assert own.get("/status/liveness/").status_code == 200
    assert [system["name"] for system in own.get("/status/systems").json()["systems"]] == ["local"]
    assert [system["name"] for system in own.get("/v1/systems").json()["systems"]] == ["local"]
    assert own.get("/openapi.json").json()["openapi"].startswith("3.1")


def test_the_token_command_finds_the_instance(own: Own) -> None:
    token = subprocess.run(
        (PASSERELLE, "token"),
        env=os.environ | own.environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(own.ready["ready"] + "/status/systems", headers=headers).status_code == 200


def test_a_taken_port_is_an_error(own: Own) -> None:
    done = subprocess.run(
        (PASSERELLE, "up"), env=os.environ | own.environment, capture_output=True, text=True
    )
    assert done.returncode == os.EX_CONFIG
    taken = f"gateway.listen: port {own.environment['PASSERELLE_PORT']} of 127.0.0.1 is taken"
    assert taken in done.stderr
    assert own.get("/status/liveness/").status_code == 200


@pytest.mark.parametrize(
    ("key", "section"),
    [
        ("services.compute.address", "services: {{compute: {{address: '{}'}}}}"),
        ("services.compute.metrics", "services: {{compute: {{metrics: '{}'}}}}"),
        ("gateway.admin", "gateway: {{admin: '{}'}}"),
    ],
)
def test_a_port_of_another_program_is_no_ready_site(tmp_path: Path, key: str, section: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        done = _failed_start(tmp_path, section.format(address))
    assert done.returncode == os.EX_CONFIG
    assert done.stdout == ""
    where = address.replace("127.0.0.1:", "port ") + " of 127.0.0.1"
    assert done.stderr == f"Error: {key}: {where} is taken by another program\n"


@pytest.mark.parametrize("service", ["compute", "envoy"])
def test_a_process_started_by_itself_names_the_taken_port(tmp_path: Path, service: str) -> None:
    config = tmp_path / "site.yaml"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        config.write_text(
            f"services: {{compute: {{address: '127.0.0.1:{port}'}}, "
            f"auth: {{address: '127.0.0.1:1'}}, secret: {'s' * 32}}}\n"
            f"gateway: {{listen: '127.0.0.1:{port}'}}\n"
        )
        done = subprocess.run(
            (PASSERELLE, "serve", service, "--config", str(config)),
            capture_output=True,
            text=True,
            timeout=60,
        )
    key = "gateway.listen" if service == "envoy" else "services.compute.address"
    assert done.returncode == os.EX_CONFIG
    assert done.stderr == f"Error: {key}: port {port} of 127.0.0.1 is taken by another program\n"


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = _failed_start(tmp_path, "gateway: {tls: {cert: /nowhere/cert.pem, key: /nowhere/key}}")
    assert done.returncode == os.EX_CONFIG
    assert "gateway.tls.cert: /nowhere/cert.pem: No such file or directory" in done.stderr


def test_the_lines_to_copy_work_with_a_certificate_of_ones_own(tmp_path: Path) -> None:
    shown, port = certificate(["localhost"]), free_port()
    (tmp_path / "cert.pem").write_bytes(shown.pem)
    (tmp_path / "key.pem").write_bytes(shown.key())
    data = written_embedded(port, tmp_path)
    data["gateway"]["tls"] = {name: str(tmp_path / f"{name}.pem") for name in ("cert", "key")}
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(data))
    process = subprocess.Popen(
        (PASSERELLE, "up", "--config", str(tmp_path / "site.yaml")),
        env=os.environ | {"XDG_STATE_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        ready, token, curl, snippet = (process.stdout.readline().strip() for _ in range(4))
        assert ready == f"READY https://127.0.0.1:{port}"
        assert f" https://localhost:{port}/" in curl
        for line in (curl.replace("curl ", "curl -sS --fail "), snippet):
            done = subprocess.run(
                ("bash", "-c", f"{token}\n{line}"), capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, done.stderr
            assert "local" in done.stdout
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _failed_start(directory: Path, text: str) -> subprocess.CompletedProcess[str]:
    config = directory / "site.yaml"
    config.write_text(text)
    return subprocess.run(
        (PASSERELLE, "up", "--config", str(config)),
        env=os.environ | {"PASSERELLE_PORT": str(free_port()), "XDG_STATE_HOME": str(directory)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_process_comes_back_and_no_job_is_lost(own: Own, service: str) -> None:
    job = own.submit("#!/bin/sh\nwhile [ ! -e stop ]; do sleep 0.1; done\necho done\n")
    before = own.processes()
    os.kill(before[service], signal.SIGKILL)
    reply = own.next_reply(f"/compute/local/jobs/{job}")
    assert reply.status_code == 200, reply.text
    assert reply.json()["jobs"][0]["status"]["state"] == "RUNNING"
    assert own.get(f"/filesystem/local/ops/stat?path={own.work}").status_code == 200
    after = own.processes()
    assert after[service] != before[service]
    lines = map(json.loads, (Path(own.ready["logs"]) / "up.log").read_text().splitlines())
    assert (service, "WARNING") in [(line["message"].split()[0], line["level"]) for line in lines]
    assert {name: after[name] for name in SERVICES if name != service} == {
        name: before[name] for name in SERVICES if name != service
    }
    (own.work / "stop").touch()
    deadline = time.monotonic() + PATIENCE
    while (state := own.state(job)) == "RUNNING" and time.monotonic() < deadline:
        time.sleep(0.1)
    (own.work / "stop").unlink()
    assert state == "COMPLETED"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_clean_end_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    environment = {"PASSERELLE_PORT": str(free_port()), "XDG_STATE_HOME": str(tmp_path)}
    with running_site(environment=environment) as ready:
        instance = Own(ready, environment, tmp_path)
        pids = instance.processes().values()
        directory = instance.run_directory
        assert instance.get("/filesystem/local/ops/ls?path=/tmp").status_code == 200
        os.kill(ready["pid"], number)
        _until_gone(ready["pid"])
        assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert not directory.exists()
    assert "issued an SSH credential" in (Path(ready["logs"]) / "auth.log").read_text()
    assert '"stopped"' in (Path(ready["logs"]) / "up.log").read_text()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(environment["PASSERELLE_PORT"]))) != 0


def test_nothing_outlives_a_killed_up(tmp_path: Path) -> None:
    environment = {"PASSERELLE_PORT": str(free_port()), "XDG_STATE_HOME": str(tmp_path)}
    with running_site(environment=environment) as ready:
        instance = Own(ready, environment, tmp_path)
        pids, directory = instance.processes().values(), instance.run_directory
        os.kill(ready["pid"], signal.SIGKILL)
        for pid in pids:
            _until_gone(pid)
    shutil.rmtree(directory)


def test_a_plugin_that_is_not_there_stops_the_whole_with_a_message(tmp_path: Path) -> None:
    done = _failed_start(tmp_path, "auth:\n  authorizer: {type: nobody}\n")
    assert done.returncode == os.EX_CONFIG
    assert "auth.authorizer.type: no plugin 'nobody'" in done.stderr
    assert "Traceback" not in done.stderr


def _until_gone(pid: int) -> None:
    """Return when the process has ended; a zombie has."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} still runs")

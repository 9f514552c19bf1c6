"""The audit log of a running site: who did what to what, and who was refused; nothing secret."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.ports import free_port
from tests.stack import running_site

SCRIPT = "#!/bin/sh\n# no-script-in-the-log\nsleep 60\n"


@dataclass(frozen=True)
class Site:
    """A site of our own, whose audit log is read."""

    http: httpx.Client
    token: str
    log: Path

    def lines(self, reply: httpx.Response) -> list[dict[str, Any]]:
        """What was written of the request that was answered so."""
        written = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in written if line["request_id"] == reply.headers["x-request-id"]]

    def logged(self, reply: httpx.Response, service: str) -> list[dict[str, Any]]:
        """All that a service logged of it, once its last two lines are there: they may come after the reply."""
        deadline = time.monotonic() + 20
        while True:
            lines = [line for line in self._all(reply) if line["service"] == service]
            if {"answered", "audit"} <= {line.get("message", "audit") for line in lines}:
                return lines
            assert time.monotonic() < deadline, lines
            time.sleep(0.05)

    def _all(self, reply: httpx.Response) -> list[dict[str, Any]]:
        logs = [log.read_text() for log in self.log.parent.glob("*.log")]
        whole = [line for text in logs for line in text.splitlines(keepends=True)]
        written = [json.loads(line) for line in whole if line.endswith("\n")]
        return [line for line in written if line.get("request_id") == reply.headers["x-request-id"]]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site(environment={"PASSERELLE_PORT": str(free_port())}) as ready:
        headers = {"Authorization": f"Bearer {ready['token']}"}
        with httpx.Client(base_url=ready["ready"], headers=headers, timeout=30) as http:
            yield Site(http, ready["token"], Path(ready["logs"]) / "audit.log")


def of(line: dict[str, Any], *keys: str) -> tuple[Any, ...]:
    """Those values of a line."""
    return tuple(line.get(key) for key in keys)


def test_a_job_from_its_submission_to_its_end(site: Site, tmp_path: Path) -> None:
    job = {"workingDirectory": str(tmp_path), "script": SCRIPT, "env": {"A": "no-value-either"}}
    submitted = site.http.post("/compute/local/jobs", json={"job": job})
    job_id = submitted.json()["jobId"]
    cancelled = site.http.post(
        f"/v1/systems/local/jobs/{job_id}:cancel", headers={"x-passerelle-client": "203.0.113.1"}
    )
    for reply, method in ((submitted, "SubmitJob"), (cancelled, "CancelJob")):
        (line,) = [line for line in site.lines(reply) if line["service"] == "compute"]
        assert line["method"].endswith(method)
        assert of(line, "system", "job_id", "outcome") == ("local", job_id, "OK")
        assert line["address"] == "127.0.0.1"
        assert all(of(line, "time", "issuer", "subject", "client_id", "user"))


@pytest.mark.parametrize("url", ["/compute/local/jobs", "/v1/systems/local/jobs"])
def test_every_line_of_a_submit_tells_the_job_and_its_system(
    site: Site, tmp_path: Path, url: str
) -> None:
    """Those of compute, its line in the audit log too."""
    job = {"workingDirectory": str(tmp_path), "script": "#!/bin/sh\n"}
    reply = site.http.post(url, json=job if url.startswith("/v1") else {"job": job})
    assert reply.is_success, reply.text
    lines = site.logged(reply, "compute")
    submitted = {line.get("job_id") for line in lines}
    assert len(submitted) == 1
    assert str(submitted.pop()) in reply.text
    assert {line.get("system") for line in lines} == {"local"}
    assert all(all(of(line, "user", "issuer", "subject", "client_id")) for line in lines)


def test_every_line_of_a_transfer_tells_it_and_its_job(site: Site, tmp_path: Path) -> None:
    """Those of storage; what compute says of the job has the same request id."""
    (tmp_path / "old").write_text("old")
    url = "/filesystem/local/transfer/rm"
    reply = site.http.delete(url, params={"path": f"{tmp_path}/old"})
    assert reply.is_success, reply.text
    job = reply.json()["transferJob"]
    lines = site.logged(reply, "storage")
    assert {line.get("job_id") for line in lines} == {str(job["jobId"])}
    (transfer,) = {str(line.get("transfer")) for line in lines}
    assert job["logs"]["outputLog"].endswith(f"_{transfer}.log")


def test_files(site: Site, tmp_path: Path) -> None:
    files, path = "/filesystem/local/ops", f"{tmp_path}/a file"
    form = {"file": ("a file", b"no-content-in-the-log")}
    sent = site.http.post(f"{files}/upload", params={"path": str(tmp_path)}, files=form)
    begun = site.http.post("/v1/systems/local/uploads", json={"path": path})
    removed = site.http.delete(f"{files}/rm", params={"path": path})
    looked = site.http.get(f"{files}/ls", params={"path": str(tmp_path)})
    log_lines = [[line for line in site.lines(reply) if line["service"] == "storage"] for reply in
             (sent, begun, removed, looked)]  # fmt: skip
    assert [len(lines) for lines in log_lines] == [1, 1, 1, 0]
    assert {of(line, "path", "outcome") for (line,) in log_lines[:3]} == {(path, "OK")}
    assert log_lines[1][0]["upload_id"] == begun.json()["uploadId"]


def test_who_is_refused(site: Site) -> None:
    """Whoever turns the request away: auth, on behalf of Envoy, or the service itself."""
    forged = site.token[:-8] + "AAAAAAAA"
    reply = site.http.get("/status/systems", headers={"Authorization": f"Bearer {forged}"})
    assert reply.status_code == 401
    (line,) = site.lines(reply)
    assert of(line, "outcome", "reason", "address") == (
        "UNAUTHENTICATED",
        "UNAUTHENTICATED",
        "127.0.0.1",
    )


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("application/json", "POST /v1/systems/local/jobs"),
        ("application/grpc-web", "POST /passerelle.v1.ComputeService/SubmitJob"),
    ],
)
def test_who_shows_no_token(site: Site, kind: str, method: str) -> None:
    """Turned away by Envoy, which tells auth a moment later."""
    verb, path = method.split()
    request = {"authorization": "", "content-type": kind}
    reply = site.http.request(verb, f"{path}?secret=no-query", headers=request)
    line = _line_to_come(site, reply)
    assert of(line, "outcome", "reason", "address", "service") == (
        "UNAUTHENTICATED",
        "UNAUTHENTICATED",
        "127.0.0.1",
        "auth",
    )
    assert line["method"] in (method, path)


def test_what_is_too_large(site: Site) -> None:
    reply = site.http.post("/v1/systems/local/jobs", json={"script": "#" * (9 << 20)})
    assert reply.status_code == 413
    line = _line_to_come(site, reply)
    assert of(line, "outcome", "reason", "method") == (
        "OUT_OF_RANGE",
        "TOO_LARGE",
        "POST /v1/systems/local/jobs",
    )


def _line_to_come(site: Site, reply: httpx.Response) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if lines := site.lines(reply):
            (line,) = lines
            return line
        time.sleep(0.1)
    raise AssertionError("nothing was written")


def test_no_token_stands_in_any_log(site: Site) -> None:
    parts = site.token.encode().split(b".")
    for odd in (b"Bearer \xe9" + site.token.encode(), b"Bearer " + site.token.encode() + b"\xff"):
        for path in ("/status/systems", "/v1/systems/local/userinfo", "/filesystem/local/ops/ls"):
            reply = site.http.get(path, headers={b"authorization": odd})
            assert reply.status_code == 401
    for log in site.log.parent.iterdir():
        assert not [part for part in parts if part in log.read_bytes()], log.name


def test_nothing_secret_stands_there(site: Site) -> None:
    written = site.log.read_text()
    assert "no-" not in written
    assert not any(part in written for part in site.token.split("."))

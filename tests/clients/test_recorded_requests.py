"""Requests of clients that are no Python packages, byte for byte as they send them, on a real site.

Each file in `requests` names a client, its source and version. Its requests are sent in their order; DIRECTORY and JOB
stand for what this run has. `reads` are the fields of the reply that the client reads, and what it must find there: a
value, or what kind of value. `after_end_of` names a job that must have ended before the request is sent: while Slurm
cancels a job, it writes to the job's directory, which cannot be removed then.
"""

import http.client
import json
import time
from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from firecrest.v2 import Firecrest

from tests.clients.pyfirecrest_run import ENDED, Site

RECORDED = "/home/alice/DIRECTORY"
END_SECONDS = 60.0  # for a job that was cancelled
KINDS: Mapping[str, type | tuple[type, ...]] = {
    "<text>": str,
    "<number>": (int, float),
    "<list>": list,
    "<object>": dict,
}


class Wire:
    """Sends requests with exactly the headers given, besides host, length and token."""

    def __init__(self, site: Site, token: str, directory: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(site.url).netloc, timeout=60)
        self._token = token
        self._known = {
            RECORDED: directory,
            RECORDED.replace("/", "%2F"): directory.replace("/", "%2F"),
        }
        self.jobs: list[str] = []

    def actual(self, text: str) -> str:
        """A recorded text, for this run."""
        for recorded, ours in self._known.items():
            text = text.replace(recorded, ours)
        return text

    def send(self, request: Mapping[str, Any], common: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and body of the reply."""
        body = self.actual(request.get("body", "")).encode()
        headers = {**common, **request.get("headers", {})}
        headers["Authorization"] = f"Bearer {self._token}"
        if body:
            headers["Content-Length"] = str(len(body))
        target = self.actual(request["target"])
        self._connection.putrequest(request["method"], target, skip_accept_encoding=True)
        for name, value in headers.items():
            self._connection.putheader(name, value)
        self._connection.endheaders(body or None)
        reply = self._connection.getresponse()
        return reply.status, reply.read()

    def keep(self, request: Mapping[str, Any], reply: Any) -> None:
        """Remember what later requests name, and the jobs that are to be ended."""
        for name, path in request.get("keeps", {}).items():
            self._known[name] = found(reply, path)
        job = reply.get("transferJob", reply)
        if "jobId" in job:
            self.jobs.append(job["jobId"])

    def ended(self, name: str) -> str:
        """The state of the job that requests call `name`, when it has ended."""
        job = f"/compute/cluster/jobs/{self._known[name]}"
        deadline = time.monotonic() + END_SECONDS
        while time.monotonic() < deadline:
            _, body = self.send({"method": "GET", "target": job}, {})
            state = str(json.loads(body)["jobs"][0]["status"]["state"])
            if state in ENDED:
                return state
            time.sleep(0.2)
        raise TimeoutError(f"job {name} has not ended in {END_SECONDS} s")

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def found(reply: Any, path: str) -> Any:
    """What is at a path such as `jobs.0.name`."""
    keys = [int(key) if key.isdigit() else key for key in path.split(".")]
    return reduce(lambda value, key: value[key], keys, reply)


@pytest.fixture
def wire(site: Site, owner: Firecrest, directory: str) -> Iterator[Wire]:
    wire = Wire(site, owner._authorization.get_access_token(), directory)
    yield wire
    wire.close()
    for job in wire.jobs:
        owner.cancel_job(site.system, job)


@pytest.mark.parametrize(
    "recording",
    sorted((Path(__file__).parent / "requests").glob("*.json")),
    ids=lambda path: str(path.stem),
)
def test_every_request_is_answered_as_the_client_reads_it(wire: Wire, recording: Path) -> None:
    client = json.loads(recording.read_text())
    for request in client["requests"]:
        if job := request.get("after_end_of"):
            assert wire.ended(job) == "CANCELLED"
        status, body = wire.send(request, client["headers"])
        assert status == request["status"], (request["name"], body)
        if "content" in request:
            assert body.decode() == request["content"]
        elif status == 204:
            assert body == b""
        else:
            reply = json.loads(body)
            wire.keep(request, reply)
            for path, expected in request.get("reads", {}).items():
                output = found(reply, path)
                assert fits(
                    output, wire.actual(expected) if isinstance(expected, str) else expected
                ), (
                    request["name"],
                    path,
                    output,
                )


def fits(said: Any, expected: Any) -> bool:
    """Whether a field has the value, or the kind of value, that is expected."""
    if isinstance(expected, str) and expected in KINDS:
        return isinstance(said, KINDS[expected]) and not isinstance(said, bool)
    return bool(said == expected)

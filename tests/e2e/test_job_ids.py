"""Ids of jobs through Envoy, on both surfaces: what a list gives out can be asked for, all else is a clear 4xx."""

import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import httpx
import pytest

from tests.e2e.target import Target

COMPONENTS = "#SBATCH -n1 --begin=now+1hour\n#SBATCH hetjob\n#SBATCH -n1 --begin=now+1hour\n"
TASKS = "#SBATCH --array=1-3\n"
ABSENT = (
    "0",
    "00",
    "99999999",
    "4294967295",
    "9" * 40,
    "abc",
    "x+1",
    "1e3",
    "0x10",
    "1_99999999999",
)
MALFORMED = (
    *("1_[1-3]", "1_%5B1-3%5D", "1_1.batch", "1_1_2", "1+1+1", "1+", "1.5", "-1", "%2D1", "1_-1"),
    *("1,2", "1%2C2", "1;id", "1%3Bid", "*", "1%20", "%20", "1%201", "1%0A", "%D9%A1", "%EF%BC%91"),
)
UNREADABLE = ("1%00", "%FF", "%C3%28", "1%2F2")


class Surface:
    """One of the two: its calls about one job, by an id as it stands in the URL."""

    def __init__(self, http: httpx.Client, target: Target) -> None:
        self._http = http
        self._target = target
        self._headers = {"Authorization": f"Bearer {target.token()}"}

    jobs: ClassVar[str]
    """The path of a system's jobs."""

    def job(self, job_id: str) -> httpx.Response:
        """The job."""
        return self.send("GET", f"{self.jobs.format(self._target.system)}/{job_id}")

    def calls(self, job_id: str) -> list[httpx.Response]:
        """Every call: the job, its metadata, an attachment, and at last its cancellation."""
        path = f"{self.jobs.format(self._target.system)}/{job_id}"
        metadata = self.send("GET", f"{path}/metadata")
        return [self.job(job_id), metadata, *self.changes(path)]

    def changes(self, path: str) -> list[httpx.Response]:
        """The calls that change something."""
        raise NotImplementedError

    def send(self, method: str, path: str, **body: Any) -> httpx.Response:
        """Send a path as it is written: httpx would encode some of it."""
        url = httpx.URL(self._target.base_url, raw_path=path.encode())
        return self._http.request(method, url, headers=self._headers, **body)


class Profile(Surface):
    """FirecREST's."""

    jobs = "/compute/{}/jobs"

    def changes(self, path: str) -> list[httpx.Response]:
        return [
            self.send("PUT", f"{path}/attach", json={"command": "true"}),
            self.send("DELETE", path),
        ]


class Native(Surface):
    """Our own."""

    jobs = "/v1/systems/{}/jobs"

    def changes(self, path: str) -> list[httpx.Response]:
        return [
            self.send("POST", f"{path}:attach", json={"command": "true"}),
            self.send("POST", f"{path}:cancel", json={}),
        ]


@pytest.fixture(params=[Profile, Native])
def surface(request: pytest.FixtureRequest, cluster_target: Target, http: httpx.Client) -> Surface:
    made: Callable[[httpx.Client, Target], Surface] = request.param
    return made(http, cluster_target)


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60) as client:
        yield client


@pytest.fixture
def submit(cluster_target: Target, http: httpx.Client) -> Iterator[Callable[[str], str]]:
    """Submits a job with these directives."""
    jobs: list[str] = []
    where = f"{cluster_target.base_url}/compute/{cluster_target.system}/jobs"
    headers = {"Authorization": f"Bearer {cluster_target.token()}"}

    def submitted(directives: str) -> str:
        script = f"#!/bin/sh\n{directives}sleep 300\n"
        job = {"name": "ids", "workingDirectory": "/tmp", "script": script}
        reply = http.post(where, json={"job": job}, headers=headers)
        jobs.append(reply.raise_for_status().json()["jobId"])
        return jobs[-1]

    yield submitted
    for job_id in jobs:
        http.delete(f"{where}/{job_id}", headers=headers)


@pytest.mark.parametrize("plus", ["+", "%2B", "%2b"])
def test_a_component(surface: Surface, submit: Callable[[str], str], plus: str) -> None:
    job_id = submit(COMPONENTS)
    job, metadata, attached, _ = surface.calls(f"{job_id}{plus}1")
    assert [one_job["jobId"] for one_job in job.json()["jobs"]] == [f"{job_id}+1"]
    shown = metadata.json()
    (shown,) = shown.get("jobs", [shown])
    assert shown["jobId"] == f"{job_id}+1"
    assert shown["standardOutput"] == f"/tmp/slurm-{job_id}.out"
    assert attached.status_code == 400  # it waits


@pytest.mark.parametrize("underscore", ["_", "%5F"])
def test_a_task(surface: Surface, submit: Callable[[str], str], underscore: str) -> None:
    job_id = submit(TASKS)
    task = f"{job_id}{underscore}2"
    deadline = time.monotonic() + 60
    while _state(surface.job(task)) == "PENDING":
        assert time.monotonic() < deadline
    replies = surface.calls(task)
    assert [reply.is_success for reply in replies] == [True] * 4
    job, metadata, *_ = replies
    assert [one_job["jobId"] for one_job in job.json()["jobs"]] == [f"{job_id}_2"]
    shown = metadata.json()
    (shown,) = shown.get("jobs", [shown])
    assert shown["standardOutput"] == f"/tmp/slurm-{job_id}_2.out"


def _state(reply: httpx.Response) -> str:
    (job,) = reply.json()["jobs"]
    return str(job.get("schedulerState") or job["status"]["state"])


@pytest.mark.parametrize("job_id", ABSENT)
def test_an_id_without_a_job_is_404(surface: Surface, job_id: str) -> None:
    for reply in surface.calls(job_id):
        assert (reply.status_code, _message(reply)) == (404, "Job not found.")


@pytest.mark.parametrize("job_id", MALFORMED)
def test_what_is_no_id_is_told(surface: Surface, job_id: str) -> None:
    status = 400 if isinstance(surface, Profile) else 404
    for reply in surface.calls(job_id):
        assert reply.status_code == status
        assert "job_id" in _message(reply) or _message(reply) == "Job not found."


@pytest.mark.parametrize("job_id", UNREADABLE)
def test_what_cannot_be_read_is_400(surface: Surface, job_id: str) -> None:
    for reply in surface.calls(job_id):
        assert reply.status_code == 400
        assert _message(reply)


@pytest.mark.parametrize("part", ["+9", "%2B9", "_9"])
def test_a_part_that_a_job_does_not_have(
    surface: Surface, submit: Callable[[str], str], part: str
) -> None:
    job_id = submit(TASKS if part == "_9" else COMPONENTS)
    for reply in surface.calls(f"{job_id}{part}"):
        assert (reply.status_code, _message(reply)) == (404, "Job not found.")


def _message(reply: httpx.Response) -> str:
    body = reply.json()
    return str(body["message"] if "message" in body else body["error"]["message"])

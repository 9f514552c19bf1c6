"""Replays recorded cases against a running server and reports differences."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from tests.compat import tree
from tests.compat.cases import CANCELLED_BEFORE, SUBMISSIONS, Case
from tests.compat.comparable import View, comparable, digest_of, recorded_view
from tests.compat.differences import Difference

COMPARED_HEADERS = ("content-type", "www-authenticate", "allow", "location", "f7t-authusername")
_JOB_IN_PATH = re.compile(r"(?<=/jobs/)\d+")


TokenFactory = Callable[..., str]
"""Makes an access token of a user; arguments as for `tokens.Issuer.token`."""


@dataclass(frozen=True)
class FirecrestApi:
    """A server that speaks the FirecREST v2 API."""

    base_url: str
    """Without a slash at the end."""
    token: TokenFactory


SPECIAL_AUTHORIZATION: dict[str, Callable[[TokenFactory, str], str]] = {
    "auth_basic_scheme": lambda token, user: "Basic YTpi",
    "auth_expires_soon": lambda token, user: "Bearer " + token(user, lifetime=10),
    "auth_lowercase_bearer_ok": lambda token, user: "bearer " + token(user),
    "auth_not_yet_valid": lambda token, user: "Bearer " + token(user, nbf=int(time.time()) + 600),
    "auth_service_account_no_email_ok": lambda token, user: "Bearer " + token(user, email=None),
    "auth_unknown_kid": lambda token, user: "Bearer " + token(user, key_id="unknown"),
    "auth_wrong_audience": lambda token, user: "Bearer " + token(user, aud="other"),
}
"""Case -> the Authorization header that its note describes."""


def _up_txt() -> None:
    tree.write(tree.GOLDEN / "up.txt", b"overwritten\n")


def _up_bin() -> None:
    tree.write(tree.GOLDEN / "up.bin", b"x")


def _newlink() -> None:
    (tree.GOLDEN / "newlink").symlink_to(tree.GOLDEN / "lines.txt")
    tree.give(tree.GOLDEN / "newlink")


def _tar() -> None:
    tree.write(tree.GOLDEN / "a.tar", bytes(10240))


FILES_BEFORE: dict[str, Callable[[], None]] = {
    "fs_chmod_bad_mode": _up_txt,
    "fs_rm_file_ok": _up_bin,
    "fs_rm_symlink_ok": _newlink,
    "fs_extract_none": _tar,
}
"""Case -> the files that unrecorded cases had left for it."""


@dataclass(frozen=True)
class Outcome:
    """A reply and the expected one, both in comparable form."""

    expected: dict[str, Any]
    actual: dict[str, Any]

    @property
    def agrees(self) -> bool:
        """Are they equal?"""
        return self.expected == self.actual

    def __str__(self) -> str:
        return "\n".join(_differing("reply", self.expected, self.actual))


@dataclass
class Replay:
    """One run over the cases, in order: later ones speak of jobs and files of earlier ones."""

    api: FirecrestApi
    http: httpx.Client
    jobs: dict[str, str] = field(default_factory=dict)
    """Recorded job id -> id of the job submitted in its place."""

    @classmethod
    @contextmanager
    def on(cls, api: FirecrestApi) -> Iterator[Self]:
        """A replay on `api`, with the files in place and the jobs that no case submits already submitted."""
        one_each = httpx.Limits(
            max_keepalive_connections=0
        )  # FirecREST v2 drops a connection after a 500
        with (
            tree.golden_tree(),
            httpx.Client(base_url=api.base_url, timeout=30, limits=one_each) as http,
        ):
            replay = cls(api, http)
            for recorded_id, submission in SUBMISSIONS.items():
                replay.submit(recorded_id, submission.body())
            yield replay
            replay.cancel_all()

    def submit(self, recorded_id: str, body: dict[str, Any]) -> None:
        """Submit a job of alice's in the place of `recorded_id`."""
        reply = self.http.post("/compute/cluster/jobs", json=body, headers=self._alice())
        reply.raise_for_status()
        self.jobs[recorded_id] = reply.json()["jobId"]

    def cancel(self, recorded_id: str) -> None:
        """Cancel the job in the place of `recorded_id`, as alice."""
        self.http.delete(f"/compute/cluster/jobs/{self.jobs[recorded_id]}", headers=self._alice())

    def cancel_all(self) -> None:
        """Cancel every job of the replay, as alice and as bob, whether it still runs or not."""
        for recorded_id in self.jobs:
            user = "bob" if recorded_id == "16" else "alice"
            headers = {"Authorization": "Bearer " + self.api.token(user)}
            self.http.delete(f"/compute/cluster/jobs/{self.jobs[recorded_id]}", headers=headers)

    def outcome(self, case: Case, difference: Difference | None = None) -> Outcome:
        """Send the case's request and compare the reply with the recorded one, or with what is wanted instead.

        Reading a job is repeated until it agrees, for at most 20 s, as jobs take their time (150 s for one that runs
        into its time limit of a minute, which Slurm checks twice a minute).
        """
        self._prepare(case)
        deadline = time.monotonic() + _patience(case)
        while True:
            outcome = self._compare(case, self._send(case))
            if difference:
                changed = difference.expected(outcome.expected, outcome.actual)
                outcome = Outcome(changed, outcome.actual)
            if outcome.agrees or time.monotonic() > deadline:
                return outcome
            time.sleep(0.5)

    def _prepare(self, case: Case) -> None:
        if case.name in FILES_BEFORE:
            FILES_BEFORE[case.name]()
        if case.name in CANCELLED_BEFORE:
            self.cancel(CANCELLED_BEFORE[case.name])

    def _send(self, case: Case) -> httpx.Response:
        request = case.request
        reply = self.http.request(
            request.method,
            self._path(request.path),
            params=request.query,
            headers=self._headers(case),
            **_content(request.body),
        )
        if reply.status_code == case.status and (recorded_id := _new_job(case.body)):
            self.jobs[recorded_id] = str(_new_job(reply.json()))
        return reply

    def _path(self, recorded: str) -> str:
        """A recorded path with the live job's id in it."""
        return _JOB_IN_PATH.sub(lambda match: self.jobs.get(match[0], match[0]), recorded)

    def _headers(self, case: Case) -> dict[str, str]:
        headers = dict(case.request.headers)
        if "Authorization" in headers:
            user = case.request.user or "alice"
            special = SPECIAL_AUTHORIZATION.get(case.name)
            plain = "Bearer " + self.api.token(user)
            headers["Authorization"] = special(self.api.token, user) if special else plain
        return headers

    def _alice(self) -> dict[str, str]:
        return {"Authorization": "Bearer " + self.api.token("alice")}

    def _compare(self, case: Case, reply: httpx.Response) -> Outcome:
        recorded = recorded_view(self.jobs)
        live = View(known_jobs=frozenset(self.jobs.values()))
        compared = [name for name in COMPARED_HEADERS if name in case.headers and case.body != ""]
        return Outcome(
            {
                "status": case.status,
                "headers": {
                    name: self._path(_header(name, case.headers[name])) for name in compared
                },
                "body": comparable(case.body, recorded),
            },
            {
                "status": reply.status_code,
                "headers": {name: _header(name, reply.headers.get(name, "")) for name in compared},
                "body": _body(reply, case, live),
            },
        )


def _differing(place: str, expected: Any, actual: Any) -> Iterator[str]:
    """One line for each place where the two differ."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key in expected.keys() | actual.keys():
            yield from _differing(
                f"{place}.{key}", expected.get(key, "(absent)"), actual.get(key, "(absent)")
            )
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for number, (one, other) in enumerate(zip(expected, actual, strict=True)):
            yield from _differing(f"{place}[{number}]", one, other)
    elif expected != actual:
        yield f"{place}: expected {expected!r}, got {actual!r}"


def _content(body: Any) -> dict[str, Any]:
    """The recorded body as httpx wants it."""
    if body is None or isinstance(body, str):
        return {"content": body}
    if isinstance(body, dict) and "multipart" in body:
        files = body["multipart"].items()
        return {"files": {name: (file["filename"], bytes(file["bytes"])) for name, file in files}}
    return {"json": body}


def _new_job(body: Any) -> str | None:
    """The id of the submitted job in this reply."""
    if not isinstance(body, dict):
        return None
    result = body.get("transferJob", body).get("jobId")
    return None if result is None else str(result)


def _header(name: str, value: str) -> str:
    """Of a redirection only the path: the recording server had another address."""
    return urlsplit(value).path if name == "location" else value


def _body(reply: httpx.Response, case: Case, live: View) -> Any:
    if not reply.content:
        return "" if case.body == "" else None
    if not reply.headers.get("content-type", "").startswith("application/json"):
        return comparable(reply.content, live)
    body = comparable(reply.json(), live)
    digested = isinstance(case.body, dict) and "sha256" in case.body
    return digest_of(body) if digested else body


def _patience(case: Case) -> float:
    if case.name == "compute_job_timeout_ok":
        return 150
    reads_jobs = case.request.method == "GET" and "/jobs" in case.request.path
    return 20 if reads_jobs and case.status == 200 else 0

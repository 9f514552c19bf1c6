"""The main job as a user lives it: stage an input, submit a job, follow it to its end, read its output.

Runs against the gateway at PASSERELLE_URL, or on port PASSERELLE_PORT (8000) of this machine; when none answers there,
it starts the embedded default for itself on a free port. PASSERELLE_TOKEN and PASSERELLE_SYSTEM name another site's
access token and system. Plain HTTP, nothing of Passerelle's own code.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

PASSERELLE = str(Path(sys.executable).parent / "passerelle")
SCRIPT = """\
#!/bin/sh
echo "this job runs on $(hostname), in $PWD, as $(id -un)"
sort -n input.txt | awk '{ sum += $1 } END { print "the sum of", NR, "numbers is", sum }'
"""
LAST_STATES = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
PATIENCE = 120.0  # seconds for the job to end


class Failed(Exception):
    """The demonstration did not get to its end; the text says why."""


class Site:
    """The API as a user with a token sees it: one system of one gateway."""

    def __init__(self, url: str, token: str, system: str) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False)
        self._system = system

    def call(self, method: str, area: str, rest: str, **more: Any) -> Any:
        """The JSON of a successful reply, None for one without content; Failed for any other."""
        reply = self._http.request(method, f"/{area}/{self._system}/{rest}", **more)
        if reply.is_error:
            raise Failed(f"{method} {reply.url}: {reply.status_code} {reply.text}")
        return reply.json() if reply.content else None

    def home(self) -> str:
        """The filesystem for users' own directories, and the user's in it where there is one."""
        systems = self._http.get("/status/systems").raise_for_status().json()["systems"]
        system = next(system for system in systems if system["name"] == self._system)
        name = self.call("GET", "status", "userinfo")["user"]["name"]
        root = next(
            found["path"] for found in system["fileSystems"] if found["dataType"] == "users"
        )
        listed = self.call("GET", "filesystem", "ops/ls", params={"path": root})["output"]
        return f"{root}/{name}" if name in [entry["name"] for entry in listed] else root


def main() -> None:
    """Live it; exits with 1 and the reason when any step fails."""
    started = time.monotonic()
    try:
        with gateway() as (url, token):
            live(Site(url, token, os.environ.get("PASSERELLE_SYSTEM", "local")))
    except (Failed, httpx.HTTPError, subprocess.SubprocessError) as error:
        sys.exit(f"demo: FAILED: {error}")
    print(f"done in {time.monotonic() - started:.1f} s")


def live(site: Site) -> None:
    """Every step, with its time."""
    with step("find a place") as told:
        directory = f"{site.home()}/passerelle-demo-{int(time.time())}"
        site.call("POST", "filesystem", "ops/mkdir", json={"path": directory})
        told(directory)
    try:
        with step("stage an input") as told:
            numbers = "".join(f"{number}\n" for number in range(1000, 0, -1))
            site.call(
                "POST", "filesystem", "ops/upload",
                params={"path": directory}, files={"file": ("input.txt", numbers)},
            )  # fmt: skip
            told(f"input.txt, {len(numbers)} bytes")
        with step("submit a job") as told:
            job = {"name": "demo", "workingDirectory": directory, "script": SCRIPT}
            output = {"standardOutput": f"{directory}/output.txt"}
            job_id = site.call("POST", "compute", "jobs", json={"job": {**job, **output}})["jobId"]
            told(f"job {job_id}")
        with step("follow it to its end") as told:
            told(" > ".join(followed(site, job_id)))
        with step("read its output") as told:
            where = {"path": f"{directory}/output.txt"}
            text = site.call("GET", "filesystem", "ops/view", params=where)["output"]
            if "the sum of 1000 numbers is 500500" not in text:
                raise Failed(f"the output is not what the job should have written: {text!r}")
            told("\n" + "".join(f"    {line}\n" for line in text.splitlines()).rstrip())
    finally:
        with step("clean up"):
            site.call("DELETE", "filesystem", "ops/rm", params={"path": directory})


def followed(site: Site, job_id: str) -> list[str]:
    """The states that were seen, to the last; Failed when that is not COMPLETED."""
    states: list[str] = []
    deadline = time.monotonic() + PATIENCE
    while not states or not states[-1].startswith(LAST_STATES):
        if time.monotonic() > deadline:
            raise Failed(f"job {job_id} did not end in {PATIENCE:.0f} s; it is {states[-1]}")
        state = site.call("GET", "compute", f"jobs/{job_id}")["jobs"][0]["status"]["state"]
        if state not in states[-1:]:
            states.append(state)
        time.sleep(0.2)
    if states[-1] != "COMPLETED":
        raise Failed(f"job {job_id} ended as {states[-1]}")
    return states


@contextmanager
def step(name: str) -> Iterator[Any]:
    """Print what was done in the block, and how long it took."""
    started = time.monotonic()
    told: list[str] = []
    yield told.append
    print(f"{time.monotonic() - started:7.3f} s  {name}: {' '.join(told) or 'done'}", flush=True)


@contextmanager
def gateway() -> Iterator[tuple[str, str]]:
    """The URL of a gateway, and a token for it: the one that answers, or one of our own inside the block."""
    port = os.environ.get("PASSERELLE_PORT") or "8000"
    url = os.environ.get("PASSERELLE_URL", f"http://127.0.0.1:{port}").rstrip("/")
    if answers(url):
        print(f"using the gateway at {url}", flush=True)
        yield url, os.environ.get("PASSERELLE_TOKEN") or token_of(url)
    elif "PASSERELLE_URL" in os.environ:
        raise Failed(f"nothing answers at {url}")
    else:
        with own_gateway() as ready:
            yield ready["ready"], ready["token"]


def answers(url: str) -> bool:
    """Whether a gateway is there."""
    try:
        return httpx.get(f"{url}/status/liveness/", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def token_of(url: str) -> str:
    """A token from the development issuer of the embedded default on that port."""
    port = str(urllib.parse.urlsplit(url).port or 80)
    done = subprocess.run(
        [PASSERELLE, "token"],
        env={**os.environ, "PASSERELLE_PORT": port},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise Failed(f"no token; set PASSERELLE_TOKEN. {done.stderr.strip()}")
    return done.stdout.strip()


@contextmanager
def own_gateway() -> Iterator[dict[str, str]]:
    """What `passerelle up` says when it is ready, on a free port, inside the block."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    print("no gateway answers; starting one", flush=True)
    command = [PASSERELLE, "up", "--json"]
    with (
        tempfile.TemporaryDirectory() as state,
        subprocess.Popen(
            command,
            env={**os.environ, "PASSERELLE_PORT": port, "XDG_STATE_HOME": state},
            stdout=subprocess.PIPE,
            text=True,
        ) as up,
    ):
        try:
            ready = up.stdout.readline() if up.stdout else ""
            if not ready:
                raise Failed("`passerelle up` did not become ready; it said why above")
            yield json.loads(ready)
        finally:
            up.terminate()
            up.wait()


if __name__ == "__main__":
    main()

"""Trees over REST, through Envoy, on the real OpenSSH server: lines as they come, ends on both sides, the boundary."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.target import Target

DIRECTORIES, FILES = 50, 400


@pytest.fixture
def http(target: Target) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {target.token()}"}
    url = f"{target.base_url}/v1/systems/{target.system}/"
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        yield client


@pytest.fixture
def tree(target: Target, directory: str) -> Iterator[str]:
    """A tree of the user's own; both systems of the tests are this machine."""
    root = Path(directory)
    for number in range(DIRECTORIES):
        below = root / "tree" / f"{number:02}"
        below.mkdir(parents=True)
        for other in range(FILES):
            (below / f"file with a long name {other:04}").touch()
    subprocess.run(("chown", "-R", f"{target.user}:", str(root)), check=True)
    yield f"{directory}/tree"
    for name in ("tree", "copy"):
        shutil.rmtree(root / name, ignore_errors=True)


def lines(http: httpx.Client, method: str, url: str, **options: Any) -> list[Any]:
    with http.stream(method, url, **options) as response:
        assert response.status_code == 200, response.read()
        return [json.loads(line) for line in response.iter_lines()]


def test_a_walk_comes_in_lines(http: httpx.Client, tree: str) -> None:
    result = lines(http, "GET", "/files:walk", params={"path": tree})
    names = [file["name"] for line in result for file in line["files"]]
    assert len(names) == len(set(names)) == DIRECTORIES * (FILES + 1)
    assert len(result) > 10
    assert [line.get("finished", False) for line in result] == [False] * (len(result) - 1) + [True]


def test_copy_usage_remove(http: httpx.Client, tree: str) -> None:
    copy = f"{Path(tree).parent}/copy"
    done = lines(http, "POST", "/files:copy", json={"path": tree, "target": copy})[-1]
    assert (done["finished"], done["file"]["name"]) == (True, copy)
    used = lines(http, "GET", "/files:usage", params={"path": copy})[-1]["usage"]
    assert used["entryCount"] == str(DIRECTORIES * (FILES + 1) + 1)
    again = http.post("/files:copy", json={"path": tree, "target": copy})
    assert (again.status_code, again.json()["error"]["status"]) == (409, "ALREADY_EXISTS")
    assert lines(http, "DELETE", "/files", params={"path": copy})[-1]["finished"]
    assert not os.path.exists(copy)


def test_hanging_up_ends_the_work(http: httpx.Client, tree: str) -> None:
    parent = Path(tree).parent
    body = json.dumps({"path": tree, "target": f"{parent}/copy"})
    url = str(http.base_url) + "files:copy"
    header = f"Authorization: {http.headers['authorization']}"
    curl = subprocess.Popen(("curl", "-sS", "-X", "POST", "-H", header, "-d", body, url))
    while len(os.listdir(parent)) == 1 and curl.poll() is None:
        time.sleep(0.001)
    curl.kill()
    curl.wait()
    deadline = time.monotonic() + 30
    while len(os.listdir(parent)) > 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert os.listdir(parent) == ["tree"]


def test_links_out_are_refused_on_both_surfaces(
    target: Target, http: httpx.Client, tree: str
) -> None:
    (Path(tree) / "out").symlink_to("/etc")
    path = f"{tree}/out/passwd"
    native = http.get("/files:content", params={"path": path})
    assert native.status_code == 400
    [violation] = native.json()["error"]["details"][1]["fieldViolations"]
    assert violation["field"] == "path"
    profile = f"{target.base_url}/filesystem/{target.system}/ops/view"
    ours = http.get(profile, params={"path": path})
    assert (ours.status_code, ours.json()["message"]) == (
        400,
        f"The provided path ({path}) does not match any of the defined filesystem paths "
        f"for the requested system ({target.system}).",
    )


def test_names_of_other_bytes(http: httpx.Client, tree: str) -> None:
    raw = os.fsencode(tree) + b"/caf\xe9\n"
    with open(raw, "wb") as file:
        file.write(b"latin 1")
    params = {"raw_path": base64.b64encode(raw).decode()}
    stat_reply = http.get("/files:stat", params=params).json()
    assert base64.b64decode(stat_reply["rawName"]) == raw
    assert stat_reply["name"] == f"{tree}/caf\\351\n"
    content = http.get("/files:content", params=params)
    assert content.content == b"latin 1"
    assert content.headers["etag"] == f'"{stat_reply["etag"]}"'

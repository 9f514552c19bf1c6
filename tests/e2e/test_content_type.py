"""Bodies without `Content-Type`, as clients of the field send them: JSON where JSON is expected, bytes elsewhere."""

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.target import Target

SCRIPT = "#!/bin/bash\ntrue\n"
FORM = "application/x-www-form-urlencoded"  # what `curl -d` says by itself


@pytest.fixture
def http(target: Target) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {target.token()}"}
    with httpx.Client(base_url=target.base_url, headers=headers, timeout=30) as client:
        yield client


def test_the_profile_reads_json(target: Target, http: httpx.Client, directory: str) -> None:
    job = {"job": {"working_directory": directory, "script": SCRIPT, "account": target.account}}
    made = http.post(f"/compute/{target.system}/jobs", content=json.dumps(job))
    assert (made.status_code, set(made.json())) == (201, {"jobId"})
    files = f"/filesystem/{target.system}/ops"
    body = json.dumps({"sourcePath": f"{directory}/sub"})
    assert http.post(f"{files}/mkdir", content=body).status_code == 201
    body = json.dumps({"path": f"{directory}/sub", "mode": "700"})
    assert http.put(f"{files}/chmod", content=body).status_code == 200
    body = json.dumps({"sourcePath": f"{directory}/sub", "targetPath": f"{directory}/copy"})
    moved = http.post(f"/filesystem/{target.system}/transfer/mv", content=body)
    assert moved.status_code == 201


def test_the_native_surface_reads_json(target: Target, http: httpx.Client, directory: str) -> None:
    job = {"workingDirectory": directory, "script": SCRIPT, "account": target.account or ""}
    made = http.post(f"/v1/systems/{target.system}/jobs", content=json.dumps(job))
    assert (made.status_code, made.json()["workingDirectory"]) == (200, directory)


def test_content_stays_what_it_is(target: Target, http: httpx.Client, directory: str) -> None:
    content, path = '{"script": "not one"}', f"{directory}/data.json"
    address = f"/v1/systems/{target.system}/files:content"
    assert http.put(address, params={"path": path}, content=content).status_code == 200
    assert http.get(address, params={"path": path}).text == content
    address = f"/filesystem/{target.system}/ops/upload"
    assert http.post(address, params={"path": directory}, content=content).status_code == 400


def test_another_type_is_no_json(target: Target, http: httpx.Client, directory: str) -> None:
    body = json.dumps({"sourcePath": f"{directory}/sub"})
    address = f"/filesystem/{target.system}/ops/mkdir"
    refused = http.post(address, content=body, headers={"Content-Type": FORM})
    assert refused.status_code == 400
    assert refused.json()["data"]["fields"][0]["location"] == "body"

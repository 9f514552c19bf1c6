"""A staging method that the core has never heard of, installed as a site installs it, through both APIs."""

import hashlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
import yaml

from passerelle.v1 import transfers_pb2 as pb
from passerelle.v1 import transfers_pb2_grpc as pb_grpc
from tests import real
from tests.file_server import FileServer, file_server
from tests.ports import free_port
from tests.stack import running_site, written_embedded

PACKAGE = Path(__file__).parents[2] / "examples" / "staging-webdav"
CONTENT = random.Random(1).randbytes((3 << 20) + 1)  # noqa: S311
SECONDS = 60


@dataclass(frozen=True)
class Site:
    """The embedded stack, which stages with a file server, and with `streamer` if it is asked to."""

    url: str
    token: str
    files: FileServer
    directory: Path

    def http(self) -> httpx.Client:
        """A caller of both surfaces."""
        bearer = {"Authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=self.url, headers=bearer, timeout=SECONDS)

    def transfer(self, direction: str, path: Path, **directives: str) -> dict[str, Any]:
        """What the profile answers to a transfer by the method."""
        parameters = {"transferMethod": "webdav", **directives}
        body = {"path": str(path), "transferDirectives": parameters}
        with self.http() as http:
            reply = http.post(f"/filesystem/local/transfer/{direction}", json=body)
        assert reply.status_code == 201, reply.text
        return dict(reply.json())

    def stage(self, verb: str, path: Path, **more: Any) -> httpx.Response:
        """What the native API answers over REST."""
        body = {"path": str(path), "method": "webdav", **more}
        with self.http() as http:
            return http.post(f"/v1/systems/local/files:{verb}", json=body)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the package was installed into, without any other."""
    target = tmp_path_factory.mktemp("site-packages")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    offline = ("--no-index", "--no-build-isolation", "--no-deps", "--target", str(target))
    subprocess.run((*pip, *offline, str(PACKAGE)), check=True, timeout=SECONDS)
    return target


@pytest.fixture(scope="module")
def site(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    base = tmp_path_factory.mktemp("site")
    (base / "work").mkdir()
    (base / "files").mkdir()
    data = written_embedded(free_port(), base)
    [system] = data["systems"]
    system["filesystems"] = [
        {"path": str(base / "work"), "data_type": "scratch", "default_work_dir": True}
    ]
    with file_server(base / "files") as files:
        webdav = {"type": "webdav", "options": {"url": files.url}}
        system["data_operation"]["staging"] = [webdav, {"type": "streamer"}]
        (base / "site.yaml").write_text(yaml.safe_dump(data))
        path = {"PYTHONPATH": str(installed)}
        with running_site("--config", str(base / "site.yaml"), environment=path) as ready:
            real.exercised("embedded stack", "passerelle up")
            yield Site(ready["ready"], str(ready["token"]), files, base / "work")


def until(path: Path, content: bytes) -> None:
    """Until the file is there, whole."""
    deadline = time.monotonic() + SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, [
            log.read_text() for log in path.parent.glob(".f7t*") if log.is_file()
        ]
        time.sleep(0.1)
    assert path.read_bytes() == content


def until_nothing_is_left(site: Site) -> None:
    """Until no transfer has a file on the server, nor one of its own."""
    deadline = time.monotonic() + SECONDS
    while left := [*site.files.files(), *site.directory.glob(".passerelle*"), *hidden(site)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def hidden(site: Site) -> list[Path]:
    """Content that has begun to arrive."""
    return [*site.directory.glob(".*.passerelle-part")]


def fetched(url: str) -> bytes:
    """What the caller gets when the job has completed; it removes the file, as it is told to."""
    deadline = time.monotonic() + SECONDS
    while (reply := httpx.get(url)).status_code == 404:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    httpx.delete(url).raise_for_status()
    return reply.raise_for_status().content


def test_up_and_down_by_the_profile(site: Site) -> None:
    target = site.directory / "profile"
    reply = site.transfer("upload", target, sha256=hashlib.sha256(CONTENT).hexdigest())
    assert set(reply) == {"transferJob", "transferDirectives"}
    directives = reply["transferDirectives"]
    assert directives == {"transferMethod": "webdav", "uploadUrl": directives["uploadUrl"]}
    httpx.put(directives["uploadUrl"], content=CONTENT).raise_for_status()
    until(target, CONTENT)
    until_nothing_is_left(site)
    directives = site.transfer("download", target)["transferDirectives"]
    assert directives == {"transferMethod": "webdav", "downloadUrl": directives["downloadUrl"]}
    assert fetched(directives["downloadUrl"]) == CONTENT
    until_nothing_is_left(site)


def test_up_and_down_by_the_native_api(site: Site) -> None:
    target = site.directory / "native"
    parameters = {"sha256": hashlib.sha256(CONTENT).hexdigest()}
    reply = site.stage("stageUpload", target, parameters=parameters).raise_for_status().json()
    url = reply["parameters"]["uploadUrl"]
    assert reply == {"job": reply["job"], "method": "webdav", "parameters": {"uploadUrl": url}}
    httpx.put(url, content=CONTENT).raise_for_status()
    until(target, CONTENT)
    with grpc.insecure_channel(urlsplit(site.url).netloc) as channel:
        staged = pb_grpc.TransferServiceStub(channel).StageDownload(
            pb.StageDownloadRequest(system="local", path=str(target)),  # the system's first method
            metadata=(("authorization", f"Bearer {site.token}"),),
            timeout=SECONDS,
        )
    assert (staged.method, staged.WhichOneof("directives")) == ("webdav", "parameters")
    assert list(staged.parameters) == ["downloadUrl"]
    assert fetched(str(staged.parameters["downloadUrl"])) == CONTENT
    until_nothing_is_left(site)


def test_it_is_shown_by_its_own_name(site: Site) -> None:
    with site.http() as http:
        [system] = http.get("/status/systems").raise_for_status().json()["systems"]
    assert system["dataOperation"]["data_transfer"] == {
        "serviceType": "webdav",
        "url": site.files.url,
        "waitTimeout": 86400,
    }


@pytest.mark.parametrize("invalid", ["none", 7])
def test_what_is_wrong_with_its_own_parameters_is_named(site: Site, invalid: object) -> None:
    target = site.directory / "refused"
    native = site.stage("stageUpload", target, parameters={"sha256": invalid})
    assert (native.status_code, "sha256" in native.text) == (400, True)
    parameters = {"transferMethod": "webdav", "sha256": invalid}
    body = {"path": str(target), "transferDirectives": parameters}
    with site.http() as http:
        profile = http.post("/filesystem/local/transfer/upload", json=body)
    assert profile.status_code == 400
    assert profile.json()["data"]["fields"][0]["name"] == "transferDirectives"
    assert not site.files.files()


def test_a_file_that_is_not_the_one_announced_leaves_nothing(site: Site) -> None:
    target = site.directory / "other"
    reply = site.transfer("upload", target, sha256="0" * 64)
    httpx.put(reply["transferDirectives"]["uploadUrl"], content=CONTENT).raise_for_status()
    log = Path(reply["transferJob"]["logs"]["errorLog"])
    deadline = time.monotonic() + SECONDS
    while not log.exists() or "another SHA-256" not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    until_nothing_is_left(site)
    assert not target.exists()


def test_what_a_cancelled_job_left_is_removed(site: Site) -> None:
    target = site.directory / "cancelled"
    reply = site.transfer("upload", target)
    job, url = reply["transferJob"], reply["transferDirectives"]["uploadUrl"]
    with site.http() as http:
        http.delete(f"/compute/local/jobs/{job['jobId']}").raise_for_status()
    until_nothing_is_left(site)
    assert ("DELETE", urlsplit(url).path) in site.files.requests
    assert not target.exists()
    assert url not in json.dumps(reply["transferJob"])

"""A third API that the core has never heard of, installed as a site installs it, served by a running site."""

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from openapi_spec_validator import OpenAPIV30SpecValidator, OpenAPIV31SpecValidator, validate

from tests.ports import free_port
from tests.stack import running_site

REPO = Path(__file__).parents[2]
EXAMPLE = REPO / "examples" / "surface-queue"
SECONDS = 120
SCRIPT = "#!/bin/sh\nsleep 300\n"


@dataclass(frozen=True)
class Site:
    """The embedded stack with the third API."""

    http: httpx.Client
    token: str
    contract: descriptor_pool.DescriptorPool
    log: Path

    def compute(self) -> str:
        """The address of the process that serves the third API."""
        lines = map(json.loads, self.log.with_name("compute.log").read_text().splitlines())
        return next(f"127.0.0.1:{line['port']}" for line in lines if line["message"] == "serving")

    def submitted(self) -> str:
        """The id of a new job of the caller, submitted by the native API."""
        job = {"name": "third", "workingDirectory": "/tmp", "script": SCRIPT}
        reply = self.http.post("/v1/systems/local/jobs", json=job)
        assert reply.status_code == 200, reply.text
        text = reply.json()
        return str(text.get("jobId") or text["job"]["jobId"])

    def message(self, name: str, **fields: str) -> Any:
        """A message of the contract."""
        kind = self.contract.FindMessageTypeByName(f"queue.v1.{name}")
        return message_factory.GetMessageClass(kind)(**fields)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the package was built from its contract, and installed, into."""
    source = tmp_path_factory.mktemp("source") / EXAMPLE.name
    target = tmp_path_factory.mktemp("site-packages")
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    protos = str(REPO / "proto")
    subprocess.run(
        (sys.executable, str(source / "compile_contract.py"), protos), check=True, timeout=SECONDS
    )
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    offline = ("--no-index", "--no-build-isolation", "--no-deps", "--target", str(target))
    subprocess.run((*pip, *offline, str(source)), check=True, timeout=SECONDS)
    return target


@pytest.fixture(scope="module")
def contract(installed: Path) -> descriptor_pool.DescriptorPool:
    """What a client has of it, apart from what this process has imported."""
    data = (installed / "passerelle_queue" / "descriptors.pb").read_bytes()
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(data).file:
        pool.Add(file)
    return pool


@pytest.fixture(scope="module")
def site(installed: Path, contract: descriptor_pool.DescriptorPool) -> Iterator[Site]:
    environment = {"PASSERELLE_PORT": str(free_port()), "PYTHONPATH": str(installed)}
    with running_site(environment=environment) as ready:
        headers = {"Authorization": f"Bearer {ready['token']}"}
        with httpx.Client(base_url=ready["ready"], headers=headers, timeout=30) as http:
            yield Site(http, ready["token"], contract, Path(ready["logs"]) / "audit.log")


def problem(reply: httpx.Response, status: int, name: str) -> str:
    """The detail of an error in the third API's shape, with its header, and no other API's."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["queue-version"] == "1"
    assert not [header for header in reply.headers if header.startswith("f7t")]
    body = reply.json()
    assert set(body) == {"type", "title", "status", "detail"}
    assert (body["type"], body["status"]) == (f"urn:problem:{name}", status)
    return str(body["detail"])


def test_its_methods_are_served(site: Site) -> None:
    job = site.submitted()
    entry = site.http.get(f"/queue/local/entries/{job}")
    assert entry.json() == {"entry": job, "name": "third", "state": entry.json()["state"]}
    assert entry.headers["queue-version"] == "1"
    listed = site.http.get("/queue/local/entries").json()["entries"]
    assert job in [one["entry"] for one in listed]
    removed = site.http.delete(f"/queue/local/entries/{job}")
    assert (removed.status_code, removed.json()) == (200, {})
    lines = [json.loads(line) for line in site.log.read_text().splitlines()]
    [line] = [one for one in lines if one["request_id"] == removed.headers["x-request-id"]]
    assert (line["method"], line["outcome"]) == ("/queue.v1.QueueService/RemoveEntry", "OK")


def test_its_errors_have_its_shape(site: Site) -> None:
    gone = site.http.get("/queue/local/entries/99999999")
    assert problem(gone, 404, "not-found") == "Job not found."
    assert "queue" in problem(site.http.get("/queue/nowhere/entries"), 404, "not-found")


@pytest.mark.parametrize(
    ("verb", "path", "status", "name"),
    [
        ("GET", "/queue/local/nothing", 404, "not-found"),
        ("GET", "/queue", 404, "not-found"),
        ("PUT", "/queue/local/entries", 405, "method-not-allowed"),
        ("POST", "/queue.v1.QueueService/GetEntry", 415, "invalid-argument"),
    ],
)
def test_what_envoy_itself_answers_has_its_shape(
    site: Site, verb: str, path: str, status: int, name: str
) -> None:
    problem(site.http.request(verb, path), status, name)


def test_a_token_is_demanded_as_everywhere(site: Site) -> None:
    without = httpx.get(site.http.base_url.join("/queue/local/entries"))
    assert problem(without, 401, "unauthenticated") == "Not authenticated"
    assert without.headers["www-authenticate"] == "Bearer"
    invalid = site.http.get(
        "/queue/local/entries", headers={"Authorization": "Bearer no.such.token"}
    )
    assert problem(invalid, 401, "unauthenticated")
    assert "invalid_token" in invalid.headers["www-authenticate"]


def test_the_openapi_document_has_it_beside_the_others(site: Site) -> None:
    document = site.http.get("/openapi.json").json()
    validate(document, cls=OpenAPIV31SpecValidator)
    listed = document["paths"]["/queue/{system}/entries"]["get"]
    assert (listed["summary"], listed["tags"]) == (
        "The caller's entries, oldest first",
        ["Queue: queue"],
    )
    assert listed["operationId"] == "queue.QueueService.ListEntries"
    refused = listed["responses"]["4XX"]["content"]["application/json"]["schema"]
    assert refused == {"$ref": "#/components/schemas/queue.Error"}
    assert {"/v1/systems", "/status/systems"} <= set(document["paths"])
    older = site.http.get("/openapi-3.0.json").json()
    validate(older, cls=OpenAPIV30SpecValidator)
    assert older["paths"].keys() == document["paths"].keys()


def test_its_service_says_that_it_is_well(site: Site) -> None:
    with grpc.insecure_channel(site.compute()) as channel:
        request = health_pb2.HealthCheckRequest(service="queue.v1.QueueService")
        reply = health_pb2_grpc.HealthStub(channel).Check(request, timeout=SECONDS)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_http_1_0_is_refused_in_its_shape(site: Site) -> None:
    """It has not said that all its replies are whole."""
    parts = urlsplit(str(site.http.base_url))
    with socket.create_connection((parts.hostname, parts.port or 80), SECONDS) as sock:
        sock.sendall(b"GET /queue/local/entries HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
    assert answer.startswith(("HTTP/1.0 426 ", "HTTP/1.1 426 "))
    assert "urn:problem:invalid-argument" in answer


def test_grpc_has_the_status_with_its_reason(site: Site) -> None:
    parts = urlsplit(str(site.http.base_url))
    with grpc.insecure_channel(f"{parts.hostname}:{parts.port}") as channel:
        get = channel.unary_unary(
            "/queue.v1.QueueService/GetEntry",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=type(site.message("Entry")).FromString,
        )
        metadata = (("authorization", f"Bearer {site.token}"),)
        job = site.submitted()
        sent = site.message("GetEntryRequest", system="local", entry=job)
        assert get(sent, metadata=metadata, timeout=SECONDS).name == "third"
        sent = site.message("GetEntryRequest", system="local", entry="99999999")
        with pytest.raises(grpc.RpcError) as failure:
            get(sent, metadata=metadata, timeout=SECONDS)
    site.http.delete(f"/queue/local/entries/{job}")
    assert failure.value.code() is grpc.StatusCode.NOT_FOUND
    status = rpc_status.from_call(failure.value)  # type: ignore[arg-type]  # it is one
    info = error_details_pb2.ErrorInfo()
    assert status
    assert status.details[0].Unpack(info)
    assert info.reason == "NOT_FOUND"


def test_the_other_apis_are_as_they_were(site: Site) -> None:
    native, profile = site.http.get("/v1/nothing"), site.http.get("/nothing")
    assert native.json()["error"]["code"] == 404
    assert set(profile.json()) == {"errorType", "message", "causedBy", "data", "user"}
    assert "queue-version" not in {*native.headers, *profile.headers}
    assert profile.headers["f7t-appversion"]

"""Bad input through the whole stack: a clear 4xx in the right shape, nothing executed, the next request unharmed."""

import secrets
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import grpc
import httpx
import pytest

from passerelle.v1 import auth_pb2, auth_pb2_grpc
from tests.e2e.target import Target

LONG = "x" * 60_000  # httpx refuses longer URLs itself; bodies carry 100 000 below
JOB = {"workingDirectory": "/tmp", "script": "#!/bin/sh\ntrue\n"}


@pytest.fixture(scope="module")
def http(target: Target) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {target.token()}"}
    with httpx.Client(base_url=target.base_url, headers=headers, timeout=30) as client:
        yield client


def refused(reply: httpx.Response, *statuses: int) -> str:
    """The message of a refusal, in the shape of the surface that was called."""
    assert reply.status_code in (statuses or (400,)), reply.text
    assert reply.headers["content-type"].startswith("application/json")
    body = reply.json()
    if reply.request.url.path.startswith("/v1/"):
        assert set(body) == {"error"}
        assert body["error"]["code"] == reply.status_code
        return str(body["error"]["message"])
    assert set(body) == {"errorType", "message", "causedBy", "data", "user"}
    return str(body["message"])


@pytest.fixture(autouse=True)
def unharmed(target: Target, http: httpx.Client) -> Iterator[None]:
    yield
    after = http.get(f"/filesystem/{target.system}/ops/stat", params={"path": target.directory})
    assert after.status_code == 200


PATHS = [
    "relative/path",
    "",
    "/nul\0byte",
    LONG,
    f"/{LONG}",
    "/etc/passwd",
    "/home/../etc/passwd",
]


@pytest.mark.parametrize("operation", ["ls", "stat", "head", "tail", "view", "download"])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: repr(path)[:24])
def test_a_path_that_cannot_be(
    target: Target, http: httpx.Client, operation: str, path: str
) -> None:
    reply = http.get(f"/filesystem/{target.system}/ops/{operation}", params={"path": path})
    refused(reply, 400, 404, 414, 431)


@pytest.mark.parametrize(
    "name",
    [
        "'; touch {mark}; '",
        '"; touch {mark}; "',
        "$(touch {mark})",
        "`touch {mark}`",
        "a\ntouch {mark}",
        "-rf",
        "a|b",
    ],
)
def test_nothing_in_a_name_is_executed(
    target: Target, http: httpx.Client, directory: str, name: str
) -> None:
    mark = f"{directory}/mark-{secrets.token_hex(4)}"
    hostile = f"{directory}/{name.format(mark=mark.replace('/', '_'))}"
    files = f"/filesystem/{target.system}/ops"
    assert http.post(f"{files}/mkdir", json={"path": hostile}).status_code == 201
    for operation in ("ls", "stat"):
        assert http.get(f"{files}/{operation}", params={"path": hostile}).status_code == 200
    assert http.delete(f"{files}/rm", params={"path": hostile}).status_code == 204
    assert http.get(f"{files}/ls", params={"path": directory}).json() == {"output": []}


@pytest.mark.parametrize("job_id", ["1;id", "1 2", "1,2", "$(id)", "..", "-1", "x" * 5000, "1%00"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_job_id_that_cannot_be(
    target: Target, http: httpx.Client, method: str, job_id: str
) -> None:
    encoded = job_id if job_id == "1%00" else quote(job_id, safe="")
    reply = http.request(method, f"/compute/{target.system}/jobs/{encoded}")
    refused(reply, 400, 404)


@pytest.mark.parametrize("job_id", ["999999999", "0", "abc"])
def test_a_job_that_is_not_there(target: Target, http: httpx.Client, job_id: str) -> None:
    for reply in (
        http.get(f"/compute/{target.system}/jobs/{job_id}"),
        http.get(f"/compute/{target.system}/jobs/{job_id}/metadata"),
        http.get(f"/v1/systems/{target.system}/jobs/{job_id}"),
    ):
        assert "Job not found" in refused(reply, 404)
    refused(http.delete(f"/compute/{target.system}/jobs/{job_id}"), 404)


@pytest.mark.parametrize(
    "change",
    [
        {"workingDirectory": None},
        {"workingDirectory": 5},
        {"workingDirectory": "/nul\0byte"},
        {"workingDirectory": "/" + "x" * 100_000},
        {"script": None},
        {"script": ""},
        {"script": 5},
        {"script": "no shebang\n"},
        {"script": "#!/bin/sh\r\ntrue\r\n"},
        {"env": None},
        {"env": {"A": 1}},
        {"env": {"": "x"}},
        {"env": {"not=a name": "x"}},
        {"env": {"A": "nul\0byte"}},
        {"name": "x" * 100_000},
        {"name": "new\nline"},
        {"account": "a\0b"},
        {"standardOutput": "a\nb"},
    ],
    ids=lambda change: repr(change)[:50],
)
def test_a_job_that_cannot_be(target: Target, http: httpx.Client, change: dict[str, Any]) -> None:
    reply = http.post(f"/compute/{target.system}/jobs", json={"job": JOB | change})
    refused(reply, 400)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1]", b"null", b'"x"', b"{}", b'{"job": []}', b"\xff\xfe"]
)
def test_a_body_that_is_no_job(target: Target, http: httpx.Client, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    refused(http.post(f"/compute/{target.system}/jobs", content=body, headers=headers), 400)
    refused(http.post(f"/v1/systems/{target.system}/jobs", content=body, headers=headers), 400)


def test_a_body_beyond_the_limit(target: Target, http: httpx.Client) -> None:
    script = "#!/bin/sh\n" + "#" * (9 << 20)
    for path in (f"/compute/{target.system}/jobs", f"/v1/systems/{target.system}/jobs"):
        refused(http.post(path, json={"job": JOB | {"script": script}}), 413)


@pytest.mark.parametrize("system", ["nosuch", "a;b", "..%2f", "%00", "x" * 5000])
def test_a_system_that_is_not_there(http: httpx.Client, system: str) -> None:
    for path in (f"/status/{system}/nodes", f"/compute/{system}/jobs"):
        assert "System not found" in refused(http.get(path), 404, 400) or "%" in system
    refused(http.get(f"/v1/systems/{system}/jobs"), 404, 400)
    refused(http.get(f"/filesystem/{system}/ops/ls", params={"path": "/tmp"}), 404, 400)


TOKENS = [
    "",
    "Bearer",
    "Basic YTpi",
    "Bearer x.y.z",
    f"Bearer {'x' * 20_000}",
    "Bearer ü",
]


@pytest.mark.parametrize("header", TOKENS, ids=lambda header: header[:12])
def test_a_token_that_is_none(target: Target, header: str) -> None:
    sent = [(b"Authorization", header.encode("latin-1"))]
    for path in (
        "/status/systems",
        f"/compute/{target.system}/jobs",
        "/v1/systems",
        "/v1/auth/whoami",
    ):
        reply = httpx.get(target.base_url + path, headers=sent)
        refused(reply, 401)
        shown = header.startswith("Bearer ")
        assert ('error="invalid_token"' in reply.headers["www-authenticate"]) is shown
        assert header[-10:] not in reply.text or len(header) < 10


@pytest.mark.parametrize("query", ["showHidden=maybe", "recursive=", "dereference=2"])
def test_a_flag_that_is_no_boolean(target: Target, http: httpx.Client, query: str) -> None:
    reply = http.get(f"/filesystem/{target.system}/ops/ls?path={target.directory}&{query}")
    refused(reply, 400)
    assert reply.json()["data"]["fields"][0]["location"] == "query"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/systems/{}/files:mkdir"),
        ("GET", "/v1/systems/{}/files:stat"),
        ("GET", "/v1/systems/{}/files"),
        ("DELETE", "/v1/systems/{}/files"),
        ("GET", "/v1/systems/{}/files:content"),
        ("PUT", "/v1/systems/{}/files:content"),
    ],
)
def test_the_native_api_names_a_wrong_path(
    target: Target, http: httpx.Client, method: str, path: str
) -> None:
    for invalid in ("", "relative", "/etc/passwd", "/a%00b"):
        content = {"json": {"path": invalid}} if method == "POST" else {"params": {"path": invalid}}
        reply = http.request(method, path.format(target.system), **content)  # type: ignore[arg-type]
        refused(reply, 400)


def test_uploads_with_names_that_are_not_utf_8_overwrite_nothing(
    target: Target, http: httpx.Client, directory: str
) -> None:
    url = f"/filesystem/{target.system}/ops/upload"
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    for name, content in ((b"\xe9.txt", b"first"), (b"\xe8.txt", b"second")):
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="' + name + b'"'
        form = head + b"\r\n\r\n" + content + b"\r\n--x--\r\n"
        reply = http.post(url, params={"path": directory}, content=form, headers=kind)
        assert "The file name is not UTF-8" in refused(reply)
        assert reply.json()["data"]["fields"][0]["name"] == "file"
    result = http.get(f"/filesystem/{target.system}/ops/ls", params={"path": directory})
    assert result.json()["output"] == []


def test_a_query_cannot_change_the_system(target: Target, http: httpx.Client) -> None:
    path = f"/status/{target.system}/partitions"
    assert http.get(f"{path}?system=nosuch").json() == http.get(path).json()


@pytest.mark.parametrize("method", ["Authorize", "IssueSshCredential"])
def test_internal_methods_are_not_to_be_reached(target: Target, method: str) -> None:
    with grpc.insecure_channel(urlsplit(target.base_url).netloc) as channel:
        request = getattr(auth_pb2, f"{method}Request")()
        stub = auth_pb2_grpc.AccessServiceStub(channel)
        metadata = (("authorization", f"Bearer {target.token()}"),)
        with pytest.raises(grpc.RpcError) as caught:
            getattr(stub, method)(request, metadata=metadata, timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

"""What REST clients see of Envoy: statuses, bodies and headers, of our services' answers and of its own."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from passerelle.gateway.contracts import methods
from tests.integration.envoy_stack import (
    MAX_BODY,
    TOKEN,
    Stack,
    running_envoy,
    services,
    site,
)
from tests.ports import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

_BROKEN = (18, 56, 92)
"""curl's words for it: partial file, failure in receiving, stream error in HTTP/2 (its manual page, EXIT CODES)."""

_OURS_ALONE = ("grpc-", "x-http-", "x-error-", "x-envoy-", "x-passerelle-", "x-content-length")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    listen = free_port()
    async with services() as port:
        config = site(listen, port, access_log=True)
        async with running_envoy(config, listen, tmp_path_factory.mktemp("envoy")) as stack:
            yield stack


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    hooks = {"response": [_nothing_internal_shows]}
    async with httpx.AsyncClient(base_url=stack.url, headers=TOKEN, event_hooks=hooks) as client:
        yield client


async def _nothing_internal_shows(reply: httpx.Response) -> None:
    assert [name for name in reply.headers if name.startswith(_OURS_ALONE)] == []


def profile_error(message: str, user: str | None = None) -> dict[str, Any]:
    return {
        "errorType": "error",
        "message": message,
        "causedBy": None,
        "data": None,
        "user": user,
    }


def assert_native_error(reply: httpx.Response, code: int, status: str, message: str) -> None:
    assert reply.status_code == code
    assert reply.headers["content-type"] == "application/json"
    error = reply.json()["error"]
    assert (error["code"], error["status"]) == (code, status)
    assert message in error["message"]
    assert error["details"][0]["domain"] == "passerelle.dev"


async def test_a_profile_reply(http: httpx.AsyncClient) -> None:
    reply = await http.get("/status/systems")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["f7t-appversion"] == "2.6.0"
    assert float(reply.headers["f7t-timestamp"]) > 1.7e9
    assert "." in reply.headers["f7t-timestamp"]


async def test_a_native_reply_has_nothing_of_the_profile(http: httpx.AsyncClient) -> None:
    reply = await http.post("/v1/systems/daint/jobs", json={"name": "x"})
    assert reply.json()["jobId"] == "daint/x"
    assert not [name for name in reply.headers if name.startswith("f7t-")]


async def test_created(http: httpx.AsyncClient) -> None:
    reply = await http.post("/compute/daint/jobs", json={"job": {"ü": 1}})
    assert reply.status_code == 201
    assert json.loads(reply.json()["body"]) == {"job": {"ü": 1}}


async def test_no_content(http: httpx.AsyncClient) -> None:
    for _ in range(2):  # the connection survives
        reply = await http.delete("/compute/daint/jobs/5")
        assert (reply.status_code, reply.content) == (204, b"")
        assert "content-type" not in reply.headers


async def test_an_error_of_a_profile_method(http: httpx.AsyncClient) -> None:
    reply = await http.get("/compute/daint/jobs/5")
    assert reply.status_code == 404
    assert reply.json() == profile_error("Job not found.", "alice")
    assert reply.headers["f7t-authusername"] == "alice"
    assert reply.headers["f7t-appversion"] == "2.6.0"


async def test_an_error_of_a_native_method(http: httpx.AsyncClient) -> None:
    reply = await http.get("/v1/systems/daint/jobs/7")
    assert_native_error(reply, 404, "NOT_FOUND", "No job 7 — «ü\n».")


async def test_retry_after_of_a_service_arrives(http: httpx.AsyncClient) -> None:
    reply = await http.get("/compute/daint/jobs/busy")
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "1")


async def test_no_token(http: httpx.AsyncClient) -> None:
    reply = await http.get("/compute/daint/jobs/5", headers={"Authorization": "Basic eDp5"})
    assert reply.status_code == 401
    assert reply.json() == profile_error("Not authenticated")
    assert reply.headers["www-authenticate"] == "Bearer"


async def test_liveness_asks_for_no_token(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.url) as anyone:
        assert (await anyone.get("/status/liveness/")).json() == {"alive": None}


@pytest.mark.parametrize("path", ["/STATUS/Systems", "/status/SYSTEMS?X=Y"])
async def test_profile_paths_in_any_case(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 200


async def test_only_the_path_is_lowered(http: httpx.AsyncClient) -> None:
    reply = await http.get("/FileSystem/DAINT/Ops/Stat", params={"path": "/Home/Ä b+c"})
    assert reply.json() == {"system": "daint", "path": "/Home/Ä b+c"}


async def test_native_paths_keep_their_case(http: httpx.AsyncClient) -> None:
    assert (await http.get("/V1/systems/daint/userinfo")).status_code == 404
    reply = await http.get("/v1/systems/Daint/userinfo")
    assert reply.json()["user"] == {"id": "Daint", "name": "alice"}


@pytest.mark.parametrize(
    ("invalid", "right"),
    [
        ("/status/systems/", "/status/systems"),
        ("/Status/Systems/?a=B", "/status/systems?a=B"),
        ("/status/liveness", "/status/liveness/"),
        ("/compute/daint/jobs/3/", "/compute/daint/jobs/3"),
    ],
)
async def test_a_wrong_trailing_slash_is_redirected(
    http: httpx.AsyncClient, stack: Stack, invalid: str, right: str
) -> None:
    reply = await http.get(invalid)
    assert (reply.status_code, reply.headers["location"]) == (307, right)
    assert reply.headers["f7t-appversion"] == "2.6.0"


@pytest.mark.parametrize("path", ["/nope", "/status", "//status/systems", "/compute/x/y/z/"])
async def test_unknown_paths(http: httpx.AsyncClient, path: str) -> None:
    reply = await http.get(path)
    assert (reply.status_code, reply.json()) == (404, profile_error("Not Found"))
    assert reply.headers["f7t-appversion"] == "2.6.0"


async def test_unknown_native_path(http: httpx.AsyncClient) -> None:
    assert_native_error(await http.get("/v1/nope"), 404, "NOT_FOUND", "Not Found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/status/systems", "GET"),
        ("HEAD", "/status/systems", "GET"),
        ("OPTIONS", "/compute/daint/jobs/5", "DELETE, GET"),
        ("PATCH", "/filesystem/daint/ops/rm", "DELETE"),
    ],
)
async def test_a_wrong_method_of_the_profile(
    http: httpx.AsyncClient, method: str, path: str, allow: str
) -> None:
    reply = await http.request(method, path)
    assert (reply.status_code, reply.headers["allow"]) == (405, allow)
    assert method == "HEAD" or reply.json() == profile_error("Method Not Allowed")


async def test_replies_are_for_the_caller_alone(http: httpx.AsyncClient) -> None:
    for path in ("/status/systems", "/nope", "/v1/systems/x/jobs/5"):
        reply = await http.get(path)
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store"
        assert "strict-transport-security" not in reply.headers


async def test_headers_with_underscores_are_refused(http: httpx.AsyncClient) -> None:
    assert (await http.get("/status/systems", headers={"x_name": "1"})).status_code == 400


async def test_a_wrong_native_method(http: httpx.AsyncClient) -> None:
    reply = await http.patch("/v1/systems/daint/jobs/5:cancel")
    assert_native_error(reply, 405, "UNIMPLEMENTED", "Method Not Allowed")
    assert reply.headers["allow"] == "POST"


@pytest.mark.parametrize("name", ["x-request-id", "x-correlation-id"])
@pytest.mark.parametrize("path", ["/status/systems", "/nope", "/v1/systems/x/userinfo"])
async def test_request_ids_are_echoed(http: httpx.AsyncClient, name: str, path: str) -> None:
    reply = await http.get(path, headers={name: "no-uuid:1.2_3"})
    assert reply.headers[name] == "no-uuid:1.2_3"


@pytest.mark.parametrize("name", ["x-request-id", "x-correlation-id"])
@pytest.mark.parametrize("sent_value", ["not a word", "x" * 65, '"}'])
async def test_what_is_no_request_id_is_replaced(
    http: httpx.AsyncClient, name: str, sent_value: str
) -> None:
    reply = await http.get("/status/systems", headers={name: sent_value})
    assert reply.headers["x-request-id"] == reply.headers["x-correlation-id"]
    assert len(reply.headers["x-request-id"]) == 36


async def test_request_ids_are_made_when_none_is_sent(http: httpx.AsyncClient) -> None:
    first, second = await http.get("/status/systems"), await http.get("/status/systems")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert first.headers["x-correlation-id"] == first.headers["x-request-id"]
    metadata = first.json()["metadata"]
    assert metadata["x-request-id"] == first.headers["x-request-id"]


async def test_headers_that_steer_are_stripped(http: httpx.AsyncClient) -> None:
    forged = {
        "x-passerelle-rest": "0",
        "x-passerelle-service": "guess",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-http-code": "500",
        "x-error-body": "{}",
    }
    reply = await http.get("/status/systems", headers=forged)
    assert reply.status_code == 200
    metadata = reply.json()["metadata"]
    assert metadata["x-passerelle-rest"] == "1"
    assert not {"x-passerelle-service", "x-envoy-upstream-rq-timeout-ms"} & set(metadata)


@pytest.mark.parametrize(
    "line",
    [
        "x-passerelle-service: guess",
        "X-PASSERELLE-SERVICE: guess",
        "x-Passerelle-Anything: guess",
        "x-passerelle-: guess",
        "x-passerelle-client: 192.0.2.1\r\nX-Passerelle-Client: 192.0.2.2",
        "x-passerelle-rest:",
        "connection: x-passerelle-client, x-passerelle-rest",
    ],
)
async def test_no_spelling_of_our_headers_gets_through(stack: Stack, line: str) -> None:
    head = "GET /status/systems HTTP/1.1\r\nhost: x\r\nauthorization: Bearer alice\r\n"
    _, body = await _said_to(stack, f"{head}{line}\r\n\r\n".encode())
    metadata = json.loads(body)["metadata"]
    ours = {name: value for name, value in metadata.items() if name.startswith("x-passerelle")}
    assert ours == {"x-passerelle-rest": "1", "x-passerelle-client": "127.0.0.1"}


@pytest.mark.parametrize(
    "query",
    ["system=secret", "system=", "system=a&system=b", "sys%74em=secret", "x=1&%73ystem=secret"],
)
async def test_no_query_parameter_overrides_the_path(http: httpx.AsyncClient, query: str) -> None:
    reply = await http.get(f"/v1/systems/daint/userinfo?{query}")
    assert reply.json()["user"]["id"] == "daint"


def _variables() -> list[tuple[str, str, str]]:
    """Every path that carries a variable, with each of its variables in both spellings."""
    return sorted(
        {
            (binding.verb, binding.template, name)
            for method in methods()
            for binding in method.bindings
            for name in binding.spellings
        }
    )


@pytest.mark.parametrize(("verb", "template", "name"), _variables())
async def test_no_spelling_of_a_path_variable_in_a_query_counts(
    http: httpx.AsyncClient, verb: str, template: str, name: str
) -> None:
    """The system `secret` is refused; the other variables are shown by what answers."""
    path = re.sub(r"\{[^}]*\}", "daint", template)
    assert (await http.request(verb, f"{path}?{name}=secret")).status_code != 403


@pytest.mark.parametrize("name", ["jobId", "job_id", "job%5Fid", "job%49d"])
async def test_the_job_of_the_path_counts(http: httpx.AsyncClient, name: str) -> None:
    reply = await http.get(f"/v1/systems/daint/jobs/7?{name}=8")
    assert_native_error(reply, 404, "NOT_FOUND", "No job 7 ")


@pytest.mark.parametrize(
    "query", ["path=/a&path=/b", "path=/a&p%61th=/b", "path=/a&dereference=true&path=/b"]
)
async def test_the_last_of_a_key_counts(http: httpx.AsyncClient, query: str) -> None:
    reply = await http.get(f"/filesystem/daint/ops/stat?{query}")
    assert reply.json() == {"system": "daint", "path": "/b"}


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("/filesystem/daint/ops/stat?path=/home/%FF", ("query", "path")),
        ("/compute/daint/jobs/%FF", ("path", "jobId")),
        ("/compute/x%FF/jobs/1", ("path", "system")),
    ],
)
async def test_bytes_of_the_profile_that_are_not_utf8(
    http: httpx.AsyncClient, url: str, location: tuple[str, str]
) -> None:
    reply = await http.get(url)
    (field,) = reply.json()["data"]["fields"]
    assert (reply.status_code, reply.json()["errorType"]) == (400, "validation")
    assert (field["location"], field["name"]) == location


async def test_native_bytes_that_are_not_utf8(http: httpx.AsyncClient) -> None:
    reply = await http.get("/v1/systems/daint/files:content?path=/%FF")
    assert_native_error(reply, 400, "INVALID_ARGUMENT", "query.path")


@pytest.mark.parametrize("query", ["path=/b", "path=%FF", "pa%74h=/b&path=/c", "x=%FF"])
async def test_where_the_body_says_it_all_no_query_does(
    http: httpx.AsyncClient, query: str
) -> None:
    plain, other = [
        await http.post(f"/v1/systems/daint/files:mkdir{more}", json={"path": "/a"})
        for more in ("", f"?{query}")
    ]
    assert plain.status_code == 501  # which a service said: it was asked
    assert (other.status_code, other.text) == (plain.status_code, plain.text)


async def test_no_body_field_overrides_the_path(http: httpx.AsyncClient) -> None:
    reply = await http.post("/v1/systems/daint/files:mkdir", json={"system": "secret"})
    assert reply.status_code == 400


@pytest.mark.parametrize("body", ["{", "[1", '{"name": 5}', '{"timeLimit": "x"}', '"text"'])
async def test_malformed_json(http: httpx.AsyncClient, body: str) -> None:
    reply = await http.post("/v1/systems/daint/jobs", content=body)
    assert_native_error(reply, 400, "INVALID_ARGUMENT", "")
    assert reply.json()["error"]["message"]


@pytest.mark.parametrize("kib", [255, 257, 511, 513, 767, 1023])
async def test_a_body_of_any_allowed_size_goes_on_when_auth_has_judged(
    http: httpx.AsyncClient, kib: int
) -> None:
    """Envoy stops reading meanwhile, and must go on. The method is not served here."""
    body = {"path": "/x".ljust((kib << 10) - 20, "x")}
    reply = await http.post("/v1/systems/daint/files:batchStat", json=body, timeout=20)
    assert reply.status_code == 501


@pytest.mark.parametrize("kib", [1025, 1535, 2049, 4097])
async def test_a_larger_body_is_refused_when_auth_has_judged(stack: Stack, kib: int) -> None:
    """By a blocking client, as below."""
    content = b"x" * (kib << 10)
    url = f"{stack.url}/v1/systems/daint/files:batchStat"
    reply = await asyncio.to_thread(httpx.post, url, content=content, headers=TOKEN, timeout=20)
    assert_native_error(reply, 413, "OUT_OF_RANGE", "too large")


async def test_a_body_that_is_too_large(stack: Stack) -> None:
    """By a blocking client; see `test_an_upload_that_is_refused_early_hears_why`."""
    large = b"x" * (MAX_BODY + 1)

    def post(path: str) -> httpx.Response:
        return httpx.post(stack.url + path, content=large, headers=TOKEN)

    reply = await asyncio.to_thread(post, "/compute/daint/jobs")
    assert (reply.status_code, reply.json()) == (
        413,
        profile_error("The request body is too large."),
    )
    reply = await asyncio.to_thread(post, "/v1/systems/daint/jobs")
    assert_native_error(reply, 413, "OUT_OF_RANGE", "too large")


@pytest.mark.parametrize(
    "verb", ["PUT /v1/systems/x/files:content", "POST /filesystem/x/ops/upload"]
)
async def test_streams_of_file_content_are_not_bounded(http: httpx.AsyncClient, verb: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * MAX_BODY

    method, path = verb.split()
    reply = await http.request(method, path, params={"path": "/a"}, content=pieces())
    assert reply.status_code in (200, 204)
    size = reply.headers.get("x-size") or reply.json()["sizeBytes"]
    assert int(size) == 40 * MAX_BODY


async def test_a_streamed_download_has_its_length(http: httpx.AsyncClient) -> None:
    reply = await http.get("/v1/systems/x/files:content", params={"path": "/a"})
    assert reply.headers["content-length"] == str(3 << 20)
    assert reply.headers["content-type"] == "application/octet-stream"
    assert len(reply.content) == 3 << 20


async def test_a_download_that_breaks_off_is_seen_to_be_broken(http: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await http.get("/v1/systems/x/files:content", params={"path": "/breaks"}, timeout=60)


@pytest.mark.parametrize("http_version", ["--http1.1", "--http2-prior-knowledge"])
@pytest.mark.parametrize("method", ["content", "archive"], ids=["known length", "chunked"])
async def test_curl_takes_no_broken_stream_for_a_whole_one(
    stack: Stack, http_version: str, method: str
) -> None:
    url = f"{stack.url}/v1/systems/x/files:{method}?path=/"
    bearer = f"Authorization: {TOKEN['Authorization']}"
    curl = ("curl", "--silent", http_version, "--max-time", "20", "--header", bearer)
    ended = [
        await (
            await asyncio.create_subprocess_exec(*curl, "--output", "/dev/null", url + path)
        ).wait()
        for path in ("whole", "breaks")
    ]
    assert ended[0] == 0
    assert ended[1] in _BROKEN


@pytest.mark.parametrize("size", [1 << 20, 40 << 20])
async def test_an_upload_that_is_refused_early_hears_why(stack: Stack, size: int) -> None:
    """By a blocking client, as most are; asyncio's transports give up reading when a write fails."""
    url = f"{stack.url}/filesystem/x/ops/upload?path=/nope"
    reply = await asyncio.to_thread(httpx.post, url, content=b"x" * size, headers=TOKEN)
    assert (reply.status_code, reply.json()["message"]) == (404, "No such directory")


async def test_headers_that_are_too_large(http: httpx.AsyncClient) -> None:
    reply = await http.get("/status/systems", headers={"x-long": "x" * 100_000})
    assert reply.status_code == 431
    assert reply.json() == profile_error("The request headers, or the URL, are too large.")


async def test_headers_of_90_kilobytes_pass(http: httpx.AsyncClient) -> None:
    reply = await http.get("/filesystem/x/ops/stat", params={"path": "/" + "x" * 60_000})
    assert len(reply.json()["path"]) == 60_001
    reply = await http.get("/status/liveness/", headers={"x-long": "x" * 90_000})
    assert reply.status_code == 200


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /filesystem/x/ops/stat?path=" + b"x" * 100_000 + b" HTTP/1.1", 431),
        (b"GET /filesystem/x/ops/stat?path=\xc3\xa4 HTTP/1.1", 400),
        (b"NONSENSE", 400),
        (b"GET /status/liveness/ HTTP/1.1\r\nHost: y", 400),
        (b"GET /compute/a%2Fb/jobs HTTP/1.1", 400),
    ],
)
async def test_requests_that_are_no_http(stack: Stack, request_line: bytes, status: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
    writer.write(request_line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert int(head.split()[1]) == status
    assert set(json.loads(body)) == set(profile_error(""))


_SUBMIT = b"POST /compute/daint/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\n"
_CHUNKED = _SUBMIT + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (_CHUNKED + b"2\r\n{}\r\n0\r\n\r\n", 201),
        (_CHUNKED + b"2\r\n{}XX\r\n0\r\n\r\n", 400),
        (_CHUNKED + b"2\n{}\n0\n\n", 400),
        (_CHUNKED + b"2;a=b\n{}\r\n0\r\n\r\n", 400),
        (_CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n", 400),
        (_CHUNKED + b"ffffffffffffffff2\r\n{}\r\n0\r\n\r\n", 400),
        (_SUBMIT + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (_SUBMIT + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
        (_SUBMIT + b"Content-Length: 2, 2\r\n\r\n{}", 400),
        (_SUBMIT + b"Content-Length: +2\r\n\r\n{}", 400),
        (_SUBMIT + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (_SUBMIT + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
        (_SUBMIT + b"X-A : b\r\nContent-Length: 2\r\n\r\n{}", 400),
        (_SUBMIT + b"X-A: b\0\r\nContent-Length: 2\r\n\r\n{}", 400),
        (_SUBMIT + b"Upgrade: websocket\r\nConnection: upgrade\r\n\r\n", 403),
    ],
)
async def test_where_a_request_ends_is_beyond_doubt(
    stack: Stack, request_bytes: bytes, status: int
) -> None:
    """Whatever two programs could read differently is refused, in the shape of the surface."""
    head, body = await _said_to(stack, request_bytes)
    assert int(head.split()[1]) == status
    assert status == 201 or set(json.loads(body)) == set(profile_error(""))


async def test_a_folded_line_is_one_value(stack: Stack) -> None:
    """As RFC 9112 §5.2 has it: each fold becomes a space."""
    _, body = await _said_to(
        stack,
        b"GET /status/systems HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\n"
        b"X-A: b\r\n  x-passerelle-client: c\r\n\r\n",
    )
    metadata = json.loads(body)["metadata"]
    assert metadata["x-a"].split() == ["b", "x-passerelle-client:", "c"]
    assert metadata["x-passerelle-client"] == "127.0.0.1"


@pytest.mark.parametrize("token", [b"", b"Authorization: Bearer alice\r\n"])
async def test_nobody_gets_a_tunnel(stack: Stack, token: bytes) -> None:
    head, _ = await _said_to(stack, b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n" + token + b"\r\n")
    assert int(head.split()[1]) == 405
    assert "script log" not in stack.log.read_text()


async def _said_to(stack: Stack, request: bytes) -> tuple[bytes, bytes]:
    """The head and body of the first answer to `request`, which may leave its connection open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
    async with asyncio.timeout(20):
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        body = await reader.readexactly(int(length[1]) if length else 0)
    writer.transport.abort()
    return head, body


async def test_a_service_that_does_not_answer(http: httpx.AsyncClient) -> None:
    reply = await http.get("/compute/daint/jobs/slow", timeout=30)
    assert reply.status_code == 504
    assert reply.json() == profile_error("The compute service did not answer in time.")


async def test_a_method_that_is_not_implemented(http: httpx.AsyncClient) -> None:
    reply = await http.get("/v1/systems")
    assert_native_error(reply, 501, "UNIMPLEMENTED", "Method not found!")
    assert reply.json()["error"]["details"][0]["reason"] == "UNIMPLEMENTED"


async def test_grpc_paths_take_only_grpc(http: httpx.AsyncClient) -> None:
    reply = await http.post("/passerelle.v1.ComputeService/GetJob", json={})
    assert_native_error(reply, 415, "INVALID_ARGUMENT", "application/grpc")


async def test_the_root_leads_a_browser_to_the_documentation(http: httpx.AsyncClient) -> None:
    accept = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    reply = await http.get("/?from=bookmark", headers=accept)
    assert (reply.status_code, reply.headers["location"]) == (302, "/docs")


async def test_the_root_tells_a_program_where_the_documentation_is(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.url) as anyone:
        reply = await anyone.get("/")
        assert reply.headers["content-type"] == "application/json"
        for path in reply.json().values():
            assert (await anyone.get(path)).status_code == 200
        assert sorted(reply.json()) == ["documentation", "openapi"]
        invalid = await anyone.post("/")
    assert (invalid.status_code, invalid.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path", ["/openapi.json", "/openapi-3.0.json", "/docs", "/docs/swagger-ui-bundle.js"]
)
async def test_pages(http: httpx.AsyncClient, path: str) -> None:
    reply = await http.get(path, headers={"Authorization": ""})
    assert reply.status_code == 200
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert len(reply.content) > 1000
    assert (await http.head(path)).status_code == 200
    refused = await http.post(path)
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


async def test_no_line_of_the_access_log_is_long(stack: Stack) -> None:
    """Whatever somebody without a token writes: path, id, method, name of the host, kind of content."""
    long = "x" * 20_000
    lines = [
        (f"GET /long-1/{long}", {}),
        (f"GET /v1/long-2/{long}?{long}", {}),
        (f"POST /passerelle.v1.Long-3/{long}", {"content-type": f"application/grpc+{long}"}),
        ("GET /long-4", {"x-request-id": long, "x-correlation-id": long}),
        ("GET /long-5", {"user-agent": long, "x-forwarded-for": long, "referer": long}),
        (f"{long} /long-6", {}),
        ("GET /long-7", {"host": long}),
    ]
    for line, headers in lines:
        fields = "".join(
            f"{name}: {value}\r\n" for name, value in ({"host": "x"} | headers).items()
        )
        await _said_to(stack, f"{line} HTTP/1.1\r\n{fields}\r\n".encode())
    async with asyncio.timeout(20):
        while "/long-7" not in stack.log.read_text():
            await asyncio.sleep(0.1)
    written = stack.log.read_text().splitlines()
    assert sum("/long-" in line for line in written) >= 5
    assert max(map(len, written)) < 2000


async def test_the_access_log_tells_no_secrets(http: httpx.AsyncClient, stack: Stack) -> None:
    await http.get("/filesystem/x/ops/stat?path=/private", headers={"x-request-id": "find-me"})
    async with asyncio.timeout(20):
        while not (lines := [x for x in stack.log.read_text().splitlines() if "find-me" in x]):
            await asyncio.sleep(0.1)
    entry = json.loads(lines[0])
    assert (entry["method"], entry["path"]) == ("GET", "/filesystem/x/ops/stat")
    assert (entry["status"], entry["upstream"]) == (200, "storage")
    assert "private" not in lines[0]
    assert "alice" not in stack.log.read_text()

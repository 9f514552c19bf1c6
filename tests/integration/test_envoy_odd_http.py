"""HTTP as old proxies, health checkers and odd clients speak it, at a real Envoy."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.integration.envoy_stack import TOKEN, Stack, running_envoy, services, site
from tests.ports import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

BEARER = f"Authorization: {TOKEN['Authorization']}\r\n"
STAT = f"GET /filesystem/x/ops/stat?path=/a HTTP/1.1\r\nHost: x\r\n{BEARER}\r\n"
KEEP = "Connection: keep-alive\r\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    listen = free_port()
    directory: Path = tmp_path_factory.mktemp("envoy")
    async with services() as port, running_envoy(site(listen, port), listen, directory) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="module")
async def http(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=stack.url, headers=TOKEN) as client:
        yield client


async def raw_reply(stack: Stack, request: str) -> str:
    """The bytes that Envoy sends until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
    writer.write(request.encode())
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    await writer.wait_closed()
    return answer.decode()


@pytest.mark.parametrize("headers", ["", "Host: x\r\n", KEEP])
async def test_http_1_0_is_answered_once_and_whole(stack: Stack, headers: str) -> None:
    """No host is named, none is needed; a connection that shall be kept is not."""
    request = f"GET /filesystem/x/ops/stat?path=/a HTTP/1.0\r\n{BEARER}{headers}\r\n"
    answer = await raw_reply(stack, request * 2)
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.0 200 OK\r\n")
    assert f"content-length: {len(body)}" in head
    assert "transfer-encoding" not in head
    assert json.loads(body) == {"system": "x", "path": "/a"}


@pytest.mark.parametrize("request_line", ["GET /status/liveness/", "GET /docs", "GET /"])
async def test_health_and_documents_over_http_1_0(stack: Stack, request_line: str) -> None:
    assert (await raw_reply(stack, f"{request_line} HTTP/1.0\r\n\r\n")).startswith(
        "HTTP/1.0 200 OK\r\n"
    )


async def test_http_1_0_has_to_show_a_token(stack: Stack) -> None:
    answer = await raw_reply(stack, "GET /status/systems HTTP/1.0\r\n\r\n")
    assert answer.startswith("HTTP/1.0 401 Unauthorized\r\n")


async def test_a_body_whose_end_programs_differ_in_is_no_second_request(stack: Stack) -> None:
    post = f"POST /compute/daint/jobs HTTP/1.0\r\n{BEARER}{KEEP}Transfer-Encoding: chunked\r\n\r\n"
    answer = await raw_reply(stack, f"{post}0\r\n\r\n{STAT}")
    assert answer.count("HTTP/1.") == 1


async def test_the_native_surface_needs_http_1_1(stack: Stack) -> None:
    request = f"GET /v1/systems/x/files:archive?path=/breaks HTTP/1.0\r\n{BEARER}\r\n"
    head, _, body = (await raw_reply(stack, request)).partition("\r\n\r\n")
    assert head.startswith("HTTP/1.0 426 ")
    assert json.loads(body)["error"]["message"] == "HTTP/1.1 or HTTP/2 is required."


async def test_requests_in_a_row_without_waiting(stack: Stack) -> None:
    last = STAT.replace(BEARER, f"{BEARER}Connection: close\r\n")
    cancel = STAT.replace("GET /filesystem/x/ops/stat?path=/a", "DELETE /compute/x/jobs/5")
    answer = await raw_reply(stack, STAT + cancel + STAT + last)
    reported = [part.split("\r\n", 1)[0] for part in answer.split("HTTP/1.1 ")[1:]]
    assert reported == ["200 OK", "204 No Content", "200 OK", "200 OK"]


async def test_a_client_that_waits_for_100_continue(stack: Stack) -> None:
    head = f"POST /compute/daint/jobs HTTP/1.1\r\nHost: x\r\n{BEARER}Content-Length: 2\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
    writer.write(f"{head}Expect: 100-continue\r\nConnection: close\r\n\r\n".encode())
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"{}")
    assert (await reader.read()).startswith(b"HTTP/1.1 201 Created\r\n")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("body", [b"null", b'""', b"a=b", b'{"path": "/b"}', b'{"system": "y"}'])
async def test_a_body_that_nobody_asked_for_is_not_read(
    http: httpx.AsyncClient, body: bytes
) -> None:
    headers = {"Content-Type": "application/json"}
    for address in ("/filesystem/x/ops/stat?path=/a", "/Filesystem/x/ops/stat?path=/a"):
        reply = await http.request("GET", address, content=body, headers=headers)
        assert reply.json() == {"system": "x", "path": "/a"}
    reply = await http.request("DELETE", "/compute/x/jobs/5", content=body, headers=headers)
    assert reply.status_code == 204
    reply = await http.request("GET", "/v1/systems/x/userinfo", content=body, headers=headers)
    assert reply.json()["user"]["id"] == "x"


@pytest.mark.parametrize("path", ["/status/systems", "/compute/x/jobs", "/filesystem/x/ops/ls"])
async def test_no_page_of_another_origin_may_call(http: httpx.AsyncClient, path: str) -> None:
    """Like FirecREST: a browser asks first, hears 405 and nothing that allows it."""
    asks = {
        "Origin": "https://ui.example.org",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    reply = await http.options(path, headers=asks)
    assert (reply.status_code, "GET" in reply.headers["allow"]) == (405, True)
    assert not [name for name in reply.headers if name.startswith("access-control-")]
    reply = await http.get("/status/systems", headers={"Origin": "https://ui.example.org"})
    assert not [name for name in reply.headers if name.startswith("access-control-")]


async def test_head_is_no_method_of_the_profile(http: httpx.AsyncClient) -> None:
    reply = await http.head("/status/systems")
    assert (reply.status_code, reply.headers["allow"], reply.content) == (405, "GET", b"")


@pytest.mark.parametrize("accept", ["*/*", "text/html", "application/xml;q=0.9, */*;q=0.1"])
async def test_json_whatever_is_accepted(http: httpx.AsyncClient, accept: str) -> None:
    headers = {"Accept": accept, "Accept-Encoding": "gzip, deflate, br, zstd"}
    reply = await http.get("/filesystem/x/ops/stat?path=/a", headers=headers)
    assert reply.headers["content-type"] == "application/json"
    assert "content-encoding" not in reply.headers
    assert reply.json() == {"system": "x", "path": "/a"}

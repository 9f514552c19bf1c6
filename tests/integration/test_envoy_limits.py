"""What one client can hold of Envoy, and for how long: connections, streams, bodies. The configured times are short."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from itertools import cycle
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from prometheus_client import REGISTRY

from bench.attacks import floods, http2
from passerelle.gateway.config import GatewaySection
from passerelle.gateway.envoy import limits as envoy_limits
from passerelle.gateway.envoy import routes
from passerelle.runtime.pipeline.limits import CallLimits
from passerelle.v1 import compute_pb2, compute_pb2_grpc
from tests.integration.envoy_stack import (
    TOKEN,
    Stack,
    running_envoy,
    services,
    site,
    tls_of_localhost,
)
from tests.ports import free_port

SHORT: dict[str, Any] = {"arrival_timeout": 1, "keep_alive": 1, "idle_timeout": 2}
MOST = 12  # connections
STREAMS = 50  # on one connection
LONG_ENOUGH = 30  # seconds; without a limit it would be minutes, or for ever

HTTP2 = http2.PREFACE + http2.frame(http2.Kind.SETTINGS)


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    """With the times that Envoy has by default, which are minutes."""
    listen = free_port()
    async with (
        services() as port,
        running_envoy(site(listen, port), listen, tmp_path) as stack,
    ):
        yield stack


@pytest.mark.parametrize(
    "first",
    [b"", b"G", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", HTTP2],
    ids=["nothing", "a byte", "half a head", "half a TLS hello", "HTTP/2 without a request"],
)
async def test_silent_connections_keep_nobody_out_for_long(tmp_path: Path, first: bytes) -> None:
    """All that there may be, from one address; then somebody else comes."""
    listen = free_port()
    async with (
        services() as port,
        running_envoy(site(listen, port, max_connections=MOST, **SHORT), listen, tmp_path) as stack,
    ):
        held = [socket.create_connection(("127.0.0.1", listen)) for _ in range(MOST)]
        for one in held:
            one.sendall(first)
        async with asyncio.timeout(LONG_ENOUGH):
            while await _status(stack.url) != 200:
                await asyncio.sleep(0.1)
            for one in held:
                await asyncio.to_thread(_until_closed, one)


async def test_a_connection_of_tls_without_a_request_is_ended(tmp_path: Path) -> None:
    listen, tls = free_port(), tls_of_localhost(tmp_path)
    trust = ssl.create_default_context(cafile=tls["cert"])
    async with (
        services() as port,
        running_envoy(site(listen, port, tls=tls, **SHORT), listen, tmp_path),
        asyncio.timeout(LONG_ENOUGH),
    ):
        reader, writer = await asyncio.open_connection("localhost", listen, ssl=trust)
        assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize(
    "path", ["/compute/x/jobs", "/v1/systems/x/jobs", "/filesystem/x/ops/upload?path=/a"]
)
async def test_a_body_that_does_not_come_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Of somebody who has a valid token; one byte after another makes no difference where it is no stream."""
    monkeypatch.setattr(routes, "BODY_SECONDS", 1.0)
    listen = free_port()
    async with (
        services() as port,
        running_envoy(site(listen, port, **SHORT), listen, tmp_path),
        asyncio.timeout(LONG_ENOUGH),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", listen)
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer alice\r\n"
        writer.write(
            f"{head}content-type: application/json\r\ncontent-length: 9\r\n\r\n{{".encode()
        )
        status = (await reader.readline()).split()[1]
        assert status in (b"408", b"504")
        writer.close()


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("POST /nope", 404),
        ("GET /nope", 404),
        ("DELETE /v1/nope", 404),
        ("GET /docs", 200),
        ("GET /openapi.json", 200),
        ("GET /", 200),
        ("GET /status/systems/", 307),
        ("POST /v1/nope", 404),
        ("PATCH /v1/systems/x/jobs", 405),
        ("PATCH /filesystem/x/ops/ls", 405),
        ("POST /docs", 405),
        ("POST /compute/x/jobs/", 307),
        ("POST /passerelle.v1.ComputeService/GetJob", 415),
        ("POST /v1/systems/x/jobs", 401),
        ("POST /compute/x/jobs", 401),
        ("PUT /v1/systems/x/files:content?path=/a", 401),
        ("GET /v1/systems", 401),
    ],
)
async def test_nobody_is_waited_for_who_shows_no_token(
    stack: Stack, line: str, status: int
) -> None:
    """What is answered anyway is answered by the headers; the body, of which nothing comes, is not waited for."""
    async with asyncio.timeout(LONG_ENOUGH):
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        writer.write(f"{line} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n".encode())
        assert int((await reader.readline()).split()[1]) == status
        writer.close()


async def test_answers_that_nobody_takes_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client lets nothing be sent; without a token, so the answers are Envoy's own."""
    monkeypatch.setattr(envoy_limits, "_FLUSH_TIMEOUT", "1s")
    listen = free_port()
    async with (
        services() as port,
        running_envoy(site(listen, port, **SHORT), listen, tmp_path),
        http2.connected(f"127.0.0.1:{listen}", http2.setting(http2.INITIAL_WINDOW_SIZE, 0)) as link,
        asyncio.timeout(LONG_ENOUGH),
    ):
        numbers = range(1, 2 * STREAMS, 2)
        for path, number in zip(cycle(("/nope", "/openapi.json")), numbers, strict=False):
            await link.send(http2.request(number, "GET", path, end=True))
        ended: set[int] = set()
        async for kind, _, stream, _ in link.frames():
            if kind == http2.Kind.RST_STREAM:
                ended.add(stream)
            if ended == set(numbers):
                return
    raise AssertionError("the connection ended before its streams")


async def test_who_has_a_token_may_take_an_answer_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later than the answers of Envoy's own on the same connection, which are given up meanwhile."""
    monkeypatch.setattr(envoy_limits, "_FLUSH_TIMEOUT", "1s")
    listen, own, users = free_port(), 1, 3
    async with (
        services() as port,
        running_envoy(site(listen, port, **(SHORT | {"idle_timeout": 60})), listen, tmp_path),
        http2.connected(f"127.0.0.1:{listen}", http2.setting(http2.INITIAL_WINDOW_SIZE, 0)) as link,
        asyncio.timeout(LONG_ENOUGH),
    ):
        await link.send(http2.request(own, "GET", "/nope", end=True))
        path = "/v1/systems/x/userinfo"
        await link.send(http2.request(users, "GET", path, end=True, authorization="Bearer alice"))
        observed: set[tuple[int, int]] = set()
        async for kind, _, stream, _ in link.frames():
            observed.add((kind, stream))
            if (kind, stream) == (http2.Kind.RST_STREAM, own):
                more = (1 << 20).to_bytes(4, "big")
                await link.send(http2.frame(http2.Kind.WINDOW_UPDATE, 0, users, more))
            if (kind, stream) == (http2.Kind.DATA, users):
                break
        assert (http2.Kind.RST_STREAM, own) in observed
        assert (http2.Kind.RST_STREAM, users) not in observed


async def test_pages_are_given_out_as_often_as_memory_allows(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.url, timeout=LONG_ENOUGH) as http:
        page = "/docs/swagger-ui-bundle.js"
        replies = await asyncio.gather(*(http.get(page) for _ in range(40)))
        statuses = {reply.status_code for reply in replies}
        assert statuses == {200, 429}
        refused = next(reply for reply in replies if reply.status_code == 429)
        assert refused.json()["message"]
        assert int(refused.headers["retry-after"]) > 0
        assert (await http.get("/openapi.json")).status_code == 200
        assert (await http.get("/status/systems", headers=TOKEN)).status_code == 200


async def test_a_user_has_so_many_calls_a_second(tmp_path: Path) -> None:
    """The eleventh of a moment hears when there is one more, in the headers that clients of this field read."""
    listen = free_port()
    async with (
        services(limits=CallLimits(per_user=0.1)) as port,
        running_envoy(site(listen, port), listen, tmp_path) as stack,
        httpx.AsyncClient(base_url=stack.url, headers=TOKEN) as http,
        stack.channel() as channel,
    ):
        assert (await http.get("/status/systems")).status_code == 200
        for path in ("/status/systems", "/v1/systems/x/userinfo"):
            reply = await http.get(path)
            assert reply.status_code == 429
            assert 0 < int(reply.headers["retry-after"]) <= 10
            assert reply.headers["ratelimit-reset"] == reply.headers["retry-after"]
            assert reply.headers["ratelimit-policy"] == '"user";q=1;w=1'
            assert reply.headers["ratelimit"] == f'"user";r=0;t={reply.headers["retry-after"]}'
        stub: compute_pb2_grpc.ComputeServiceAsyncStub = compute_pb2_grpc.ComputeServiceStub(
            channel
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetUserInfo(
                compute_pb2.GetUserInfoRequest(), metadata=(("authorization", "Bearer alice"),)
            )
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "ratelimit-policy" in str(refused.value.trailing_metadata())


async def test_nobody_has_all_places_of_a_service(tmp_path: Path) -> None:
    """By calls whose message does not come; what is refused holds nothing."""
    listen = free_port()
    async with (
        services(limits=CallLimits(open_per_user=STREAMS // 2)) as port,
        running_envoy(site(listen, port, max_requests=STREAMS), listen, tmp_path) as stack,
        http2.connected(f"127.0.0.1:{listen}") as link,
        httpx.AsyncClient(base_url=stack.url, headers=TOKEN) as http,
        asyncio.timeout(LONG_ENOUGH),
    ):
        for number in range(1, 2 * STREAMS, 2):
            await link.send(floods.call(number, "alice"))
        refused = 0
        async for kind, _, _, _ in link.frames():
            refused += kind == http2.Kind.HEADERS
            if refused == STREAMS - STREAMS // 2:
                break
        reply = await http.get("/v1/systems/x/userinfo")
        assert (reply.status_code, reply.json()["error"]["details"][0]["reason"]) == (
            429,
            "OVERLOADED",
        )
        assert "You have" in reply.json()["error"]["message"]
        assert (await http.get("/status/liveness/")).status_code == 200
        assert _open_calls() == STREAMS // 2
    async with asyncio.timeout(LONG_ENOUGH):
        while _open_calls():
            await asyncio.sleep(0.05)


def _open_calls() -> float | None:
    method = "/passerelle.v1.ComputeService/GetUserInfo"
    return REGISTRY.get_sample_value("passerelle_rpc_open", {"method": method})


@pytest.mark.parametrize(
    "path", ["/v1/systems/x/files:content?path=/a", "/filesystem/x/ops/upload?path=/a"]
)
async def test_an_upload_that_stands_still_is_ended(tmp_path: Path, path: str) -> None:
    """By somebody with a valid token; it began well."""
    listen, verb = free_port(), "PUT" if path.startswith("/v1") else "POST"
    async with (
        services() as port,
        running_envoy(site(listen, port, **SHORT), listen, tmp_path),
        asyncio.timeout(LONG_ENOUGH),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", listen)
        head = f"{verb} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer alice\r\n"
        writer.write(f"{head}content-length: 1000000\r\n\r\n".encode() + bytes(1000))
        status = (await reader.readline()).split()[1]
        assert status in (b"408", b"504")
        writer.close()


def test_no_more_connections_than_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past that Envoy would take a whole core to accept none."""
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 1024))
    config = envoy_limits.overload_manager(GatewaySection(max_connections=10_000))
    monitor = config["resource_monitors"][0]["typed_config"]
    assert monitor["max_active_downstream_connections"] < 1024


async def _status(url: str) -> int:
    """The status of a user's request by a connection of its own; 0 when it is not even taken."""
    try:
        async with httpx.AsyncClient(headers=TOKEN) as http:
            return (await http.get(f"{url}/status/systems")).status_code
    except httpx.TransportError:
        return 0


def _until_closed(connection: socket.socket) -> None:
    connection.settimeout(LONG_ENOUGH)
    try:
        while connection.recv(1024):
            pass
    except ConnectionResetError:
        pass
    finally:
        connection.close()

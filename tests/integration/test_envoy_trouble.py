"""Envoy when services restart or are flooded, and with a certificate."""

import asyncio
import ssl
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from passerelle.v1 import compute_pb2, compute_pb2_grpc
from tests.integration.envoy_stack import (
    TOKEN,
    running_envoy,
    services,
    site,
    tls_of_localhost,
)
from tests.ports import free_port


async def test_a_call_waits_for_a_service_that_is_being_restarted(tmp_path: Path) -> None:
    listen, port = free_port(), free_port()
    async with (
        running_envoy(site(listen, port), listen, tmp_path) as stack,
        httpx.AsyncClient(base_url=stack.url, headers=TOKEN) as http,
    ):
        call = asyncio.create_task(http.get("/status/systems"))
        await asyncio.sleep(0.2)
        async with services(port):
            assert (await call).status_code == 200


async def test_too_many_calls_are_refused_honestly(tmp_path: Path) -> None:
    listen = free_port()
    async with (
        services() as port,
        running_envoy(site(listen, port, max_requests=4), listen, tmp_path) as stack,
        httpx.AsyncClient(base_url=stack.url, headers=TOKEN, timeout=30) as http,
    ):
        replies = await asyncio.gather(*(http.get("/compute/x/jobs/slow") for _ in range(16)))
        counted = Counter(reply.status_code for reply in replies)
        assert counted[429] >= 8
        assert counted[429] + counted[504] == 16
        refused = next(reply for reply in replies if reply.status_code == 429)
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json()["message"] == "The compute service is busy."
        assert (await http.get("/status/systems")).status_code == 200


async def test_a_gateway_without_memory_says_so(tmp_path: Path) -> None:
    """One MiB is less than Envoy takes for itself."""
    listen = free_port()
    async with (
        services() as port,
        running_envoy(site(listen, port, max_memory=1 << 20), listen, tmp_path) as stack,
        httpx.AsyncClient(base_url=stack.url, headers=TOKEN) as http,
    ):
        async with asyncio.timeout(20):
            while (reply := await http.get("/status/systems")).status_code == 200:
                await asyncio.sleep(0.05)  # the heap is looked at four times a second
        assert reply.status_code == 503
        assert reply.json()["message"] == "The gateway is overloaded."
        assert int(reply.headers["retry-after"]) > 0


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, str]:
    return tls_of_localhost(tmp_path)


async def test_rest_and_grpc_over_tls(tmp_path: Path, certificate: dict[str, str]) -> None:
    listen, cert = free_port(), certificate["cert"]
    trusted = grpc.ssl_channel_credentials(Path(cert).read_bytes())
    async with (
        services() as port,
        running_envoy(site(listen, port, tls=certificate), listen, tmp_path),
        httpx.AsyncClient(headers=TOKEN, verify=ssl.create_default_context(cafile=cert)) as http,
        grpc.aio.secure_channel(f"localhost:{listen}", trusted) as channel,
    ):
        reply = await http.get(f"https://localhost:{listen}/status/systems/")
        assert reply.headers["location"] == "/status/systems"
        assert "max-age" in reply.headers["strict-transport-security"]
        stub: compute_pb2_grpc.ComputeServiceAsyncStub = compute_pb2_grpc.ComputeServiceStub(
            channel
        )
        request = compute_pb2.GetUserInfoRequest(system="daint")
        info = await stub.GetUserInfo(request, metadata=(("authorization", "Bearer alice"),))
        assert info.user.name == "alice"


@pytest.mark.parametrize(("proxies", "client"), [(0, "127.0.0.1"), (1, "6.6.6.6"), (2, "5.5.5.5")])
async def test_a_client_is_where_the_trusted_proxies_saw_it(
    tmp_path: Path, proxies: int, client: str
) -> None:
    listen = free_port()
    async with (
        services() as port,
        running_envoy(site(listen, port, trusted_proxies=proxies), listen, tmp_path) as stack,
        httpx.AsyncClient(base_url=stack.url, headers=TOKEN) as http,
    ):
        sent = {"x-forwarded-for": "4.4.4.4, 5.5.5.5, 6.6.6.6", "x-passerelle-client": "7.7.7.7"}
        metadata = (await http.get("/status/systems", headers=sent)).json()["metadata"]
        assert metadata["x-passerelle-client"] == client


async def test_only_by_its_own_names(tmp_path: Path) -> None:
    listen = free_port()
    config: dict[str, Any] = {"host_names": ["hpc.example.org", "*.example.com"]}
    async with (
        services() as port,
        running_envoy(site(listen, port, **config), listen, tmp_path) as stack,
        httpx.AsyncClient(base_url=stack.url, headers=TOKEN) as http,
    ):
        for name, status in (
            ("hpc.example.org", 200),
            ("a.example.com", 200),
            ("evil.example", 421),
        ):
            reply = await http.get("/status/systems", headers={"host": name})
            assert reply.status_code == status, name


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
async def test_an_upload_to_a_service_that_is_away_says_so(tmp_path: Path, kind: str) -> None:
    """More than Envoy keeps for sending again: no full disk, as its own 507 would say."""
    listen = free_port()
    async with (
        services() as port,
        running_envoy(site(listen, port, dead="storage"), listen, tmp_path) as stack,
    ):
        reply = await asyncio.to_thread(
            httpx.post,
            f"{stack.url}/filesystem/x/ops/upload?path=/a",
            content=b"x" * (1 << 20),
            headers={**TOKEN, "content-type": kind},
            timeout=30,
        )
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
        assert reply.json()["message"] == "The storage service is not available."


async def test_without_auth_a_token_that_envoy_cannot_verify_waits(tmp_path: Path) -> None:
    listen = free_port()
    async with (
        services() as port,
        running_envoy(site(listen, port, dead="auth"), listen, tmp_path) as stack,
        httpx.AsyncClient(base_url=stack.url, timeout=30) as http,
    ):
        reply = await http.get("/status/systems", headers=TOKEN)
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
        assert reply.json()["message"] == "The auth service is not available."
        assert (await http.get("/status/systems")).status_code == 401
        assert (await http.get("/status/liveness/")).status_code == 200

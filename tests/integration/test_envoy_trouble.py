"""Envoy when services restart or are flooded, and with a certificate."""

import asyncio
import datetime
import ssl
from collections import Counter
from pathlib import Path

import grpc
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from passerelle.v1 import compute_pb2, compute_pb2_grpc
from tests.integration.envoy_stack import TOKEN, free_port, running_envoy, services, site


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
    """A self-signed certificate for 127.0.0.1, in files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return {"cert": str(cert_file), "key": str(key_file)}


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

"""The whole auth service on a bound port, in front of an identity provider."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import yaml

from passerelle.auth.main import running
from passerelle.runtime.config.site import site_model
from passerelle.runtime.headers import SERVICE_SECRET
from passerelle.v1 import auth_pb2 as pb
from passerelle.v1 import auth_pb2_grpc as pb_grpc
from tests.unit.auth.idp import Idp

SECRET = "the services' secret of this test"
_SYSTEM = {
    "name": "daint",
    "ssh": {"host": "127.0.0.1", "insecure_accept_any_host_key": True},
    "scheduler": {"type": "local"},
}


@dataclass
class Auth:
    """A running auth service, called as the other services call it."""

    channel: grpc.aio.Channel

    async def authorize(self, token: str, **access: str) -> pb.Principal:
        """`AccessService.Authorize`."""
        stub: pb_grpc.AccessServiceAsyncStub = pb_grpc.AccessServiceStub(self.channel)
        metadata = ((SERVICE_SECRET, SECRET),)
        return await stub.Authorize(pb.AuthorizeRequest(token=token, **access), metadata=metadata)

    async def credential(
        self, token: str, public_key: str = "", system: str = "daint"
    ) -> pb.SshCredential:
        """`AccessService.IssueSshCredential`."""
        stub: pb_grpc.AccessServiceAsyncStub = pb_grpc.AccessServiceStub(self.channel)
        request = pb.IssueSshCredentialRequest(token=token, system=system, public_key=public_key)
        return await stub.IssueSshCredential(request, metadata=((SERVICE_SECRET, SECRET),))

    async def refusal(self, token: str, **access: str) -> tuple[grpc.StatusCode, str]:
        """The code and message with which `Authorize` refuses."""
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await self.authorize(token, **access)
        return refused.value.code(), refused.value.details() or ""


@asynccontextmanager
async def serving_auth(*issuers: dict[str, Any], **section: Any) -> AsyncIterator[Auth]:
    """The auth service with this configuration."""
    data = {
        "systems": [_SYSTEM],
        "services": {"auth": {"address": "127.0.0.1:0"}, "secret": SECRET},
        "auth": {
            "issuers": [{"any_audience": "audience" not in i, **i} for i in issuers],
            **section,
        },
    }
    async with (
        running(site_model().parse(yaml.safe_dump(data))) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield Auth(channel)


@pytest.fixture
async def idp() -> AsyncIterator[Idp]:
    provider = Idp()
    async with provider.serving():
        yield provider


@pytest.fixture
async def auth(idp: Idp) -> AsyncIterator[Auth]:
    """The service with that provider's plain issuer, found by discovery."""
    async with serving_auth({"issuer": idp.url}) as auth:
        yield auth

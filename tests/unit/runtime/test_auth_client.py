"""The way to the auth service: cached for seconds, asked once, honest when auth is gone."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from passerelle.runtime import caller
from passerelle.runtime.caller import Caller
from passerelle.runtime.errors import BackendUnavailable, Unauthenticated
from passerelle.runtime.pipeline.interceptors import Pipeline
from passerelle.runtime.pipeline.stages import authorise, in_time, map_errors
from passerelle.runtime.serving.auth_client import AuthClient
from passerelle.runtime.serving.server import serving
from passerelle.v1 import auth_pb2 as pb
from passerelle.v1 import auth_pb2_grpc as pb_grpc
from passerelle.v1.access_pb2 import Access

READ = Access(audience=Access.USER, scope="compute.read", relation="can_read")


class Auth(pb_grpc.AccessServiceServicer):
    """Knows the token `good`; `life` is how long it lives, in seconds."""

    def __init__(self) -> None:
        self.requests: list[pb.AuthorizeRequest] = []
        self.life = 3600.0

    async def Authorize(self, request: pb.AuthorizeRequest, context: Any) -> pb.Principal:
        self.requests.append(request)
        await asyncio.sleep(0.05)
        if request.token != "good":
            raise Unauthenticated("Access token is invalid.")
        return pb.Principal(username="alice", expire_time=_at(time.time() + self.life))

    async def IssueSshCredential(self, request: pb.IssueSshCredentialRequest, context: Any) -> Any:
        return pb.SshCredential(username="alice", certificate=f"cert of {request.public_key}")


def _at(seconds: float) -> Timestamp:
    moment = Timestamp()
    moment.FromNanoseconds(int(seconds * 1e9))
    return moment


class Nobody:
    async def caller(self, token: str, *, access: Access, system: str) -> Caller:
        raise Unauthenticated("nobody")


@pytest.fixture
def auth() -> Auth:
    return Auth()


@pytest.fixture
async def client(auth: Auth) -> AsyncIterator[AuthClient]:
    pipeline = Pipeline([map_errors, in_time(5), authorise(Nobody(), "s3cret")])
    async with (
        serving(
            lambda server: pb_grpc.add_AccessServiceServicer_to_server(auth, server),
            [pipeline],
            drain=0,
        ) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield AuthClient(channel, "s3cret", cache_seconds=5)


async def test_an_answer_is_asked_for_once(client: AuthClient, auth: Auth) -> None:
    calls = [client.caller("good", access=READ, system="daint") for _ in range(20)]
    assert {reply.username for reply in await asyncio.gather(*calls)} == {"alice"}
    await client.caller("good", access=READ, system="daint")
    assert len(auth.requests) == 1
    count = auth.requests[0]
    assert (count.scope, count.relation, count.system) == ("compute.read", "can_read", "daint")


async def test_another_question_is_another_answer(client: AuthClient, auth: Auth) -> None:
    await client.caller("good", access=READ, system="daint")
    await client.caller("good", access=READ, system="dom")
    assert len(auth.requests) == 2


async def test_an_answer_does_not_outlive_the_token(client: AuthClient, auth: Auth) -> None:
    auth.life = 0
    for _ in range(2):
        await client.caller("good", access=READ, system="daint")
    assert len(auth.requests) == 2


async def test_a_refusal_is_raised_as_it_was_and_not_kept(client: AuthClient, auth: Auth) -> None:
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="Access token is invalid"):
            await client.caller("bad", access=READ, system="daint")
    assert len(auth.requests) == 2


async def test_one_caller_going_away_takes_nothing_from_the_others(
    client: AuthClient, auth: Auth
) -> None:
    first = asyncio.create_task(client.caller("good", access=READ, system="daint"))
    second = asyncio.create_task(client.caller("good", access=READ, system="daint"))
    while not auth.requests:
        await asyncio.sleep(0)
    first.cancel()
    assert (await second).username == "alice"
    assert len(auth.requests) == 1


async def test_a_wrong_service_secret_gets_nothing(client: AuthClient, auth: Auth) -> None:
    client._metadata = (("x-passerelle-service", "wrong"),)
    with pytest.raises(Exception, match="own services"):
        await client.caller("good", access=READ, system="daint")
    assert not auth.requests


async def test_a_credential_is_for_our_key(client: AuthClient) -> None:
    with caller.bind(Caller("alice", "good")):
        result = await client.ssh_credential("daint", "ssh-ed25519 AAAA")
    assert result.certificate == "cert of ssh-ed25519 AAAA"
    assert result.expires is None


async def test_a_missing_auth_service_is_named() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        client = AuthClient(channel, "s3cret", cache_seconds=5)
        with pytest.raises(BackendUnavailable, match="auth service"):
            await client.caller("good", access=READ, system="daint")


def test_a_token_is_never_printed() -> None:
    assert "t0ken" not in repr(Caller("alice", "t0ken"))

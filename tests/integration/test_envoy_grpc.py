"""What gRPC and gRPC-Web clients see on the same port."""

import json
from collections.abc import AsyncIterator

import grpc
import httpx
import pytest
import pytest_asyncio
from google.api.httpbody_pb2 import HttpBody
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from passerelle.firecrest.v2 import status_pb2, status_pb2_grpc
from passerelle.v1 import (
    auth_pb2,
    auth_pb2_grpc,
    compute_pb2,
    compute_pb2_grpc,
    storage_pb2,
    storage_pb2_grpc,
)
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

METADATA = (("authorization", "Bearer alice"), ("x-request-id", "me"))
USER_INFO = "/passerelle.v1.ComputeService/GetUserInfo"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    listen = free_port()
    async with (
        services() as port,
        running_envoy(site(listen, port), listen, tmp_path_factory.mktemp("envoy")) as stack,
    ):
        yield stack


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def channel(stack: Stack) -> AsyncIterator[grpc.aio.Channel]:
    async with stack.channel() as channel:
        yield channel


async def test_a_unary_call(channel: grpc.aio.Channel) -> None:
    stub: compute_pb2_grpc.ComputeServiceAsyncStub = compute_pb2_grpc.ComputeServiceStub(channel)
    request = compute_pb2.GetUserInfoRequest(system="daint")
    info = await stub.GetUserInfo(request, metadata=METADATA)
    assert (info.user.id, info.user.name) == ("daint", "alice")


async def test_an_error_is_a_plain_status(channel: grpc.aio.Channel) -> None:
    """Also for a client that claims to be Envoy's transcoder."""
    stub: compute_pb2_grpc.ComputeServiceAsyncStub = compute_pb2_grpc.ComputeServiceStub(channel)
    request = compute_pb2.GetJobRequest(system="daint", job_id="7")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.GetJob(request, metadata=(*METADATA, ("x-passerelle-rest", "1")))
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
    assert error.value.details() == "No job 7 — «ü\n»."
    trailers = str(error.value.trailing_metadata())
    assert "grpc-status-details-bin" in trailers
    assert "x-error-body" not in trailers


async def test_streams(channel: grpc.aio.Channel) -> None:
    stub: storage_pb2_grpc.StorageServiceAsyncStub = storage_pb2_grpc.StorageServiceStub(channel)
    request = storage_pb2.ReadFileRequest(system="x", path="/a")
    pieces = [len(p.data) async for p in stub.ReadFile(request, metadata=METADATA)]
    assert pieces == [1 << 20] * 3

    async def written() -> AsyncIterator[storage_pb2.WriteFileRequest]:
        yield storage_pb2.WriteFileRequest(system="x", path="/a")
        for _ in range(40):
            yield storage_pb2.WriteFileRequest(content=HttpBody(data=b"x" * MAX_BODY))

    reply = await stub.WriteFile(written(), metadata=METADATA)
    assert (reply.path, reply.size_bytes) == ("/a", 40 * MAX_BODY)


async def test_a_large_message_is_not_bounded_like_a_json_body(channel: grpc.aio.Channel) -> None:
    stub: compute_pb2_grpc.ComputeServiceAsyncStub = compute_pb2_grpc.ComputeServiceStub(channel)
    job = compute_pb2.JobDescription(name="x", script="x" * (2 * MAX_BODY))
    request = compute_pb2.SubmitJobRequest(system="daint", job=job)
    assert (await stub.SubmitJob(request, metadata=METADATA)).job_id == "daint/x"


async def test_the_profile_over_grpc(channel: grpc.aio.Channel) -> None:
    stub: status_pb2_grpc.StatusServiceAsyncStub = status_pb2_grpc.StatusServiceStub(channel)
    reply = await stub.GetSystems(status_pb2.GetSystemsRequest(), metadata=METADATA)
    assert reply.content_type == "application/json"


async def test_our_headers_are_not_a_clients_to_set(channel: grpc.aio.Channel) -> None:
    stub: status_pb2_grpc.StatusServiceAsyncStub = status_pb2_grpc.StatusServiceStub(channel)
    forged = (("x-passerelle-service", "guess"), ("x-passerelle-client", "192.0.2.1"))
    reply = await stub.GetSystems(status_pb2.GetSystemsRequest(), metadata=(*METADATA, *forged))
    metadata = json.loads(reply.data)["metadata"]
    ours = {name: value for name, value in metadata.items() if name.startswith("x-passerelle")}
    assert ours == {"x-passerelle-client": "127.0.0.1"}


async def test_internal_methods_are_not_routed(channel: grpc.aio.Channel) -> None:
    stub: auth_pb2_grpc.AccessServiceAsyncStub = auth_pb2_grpc.AccessServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.Authorize(auth_pb2.AuthorizeRequest(token="x"), metadata=METADATA)
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert error.value.details() == "Not Found"


async def test_health(channel: grpc.aio.Channel) -> None:
    reply = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


async def _web(stack: Stack, path: str, message: bytes) -> httpx.Response:
    frame = b"\0" + len(message).to_bytes(4, "big") + message
    headers = {**TOKEN, "content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    async with httpx.AsyncClient(base_url=stack.url, headers=headers) as client:
        return await client.post(path, content=frame)


async def test_grpc_web(stack: Stack) -> None:
    request = compute_pb2.GetUserInfoRequest(system="daint")
    reply = await _web(stack, USER_INFO, request.SerializeToString())
    assert reply.status_code == 200
    length = int.from_bytes(reply.content[1:5], "big")
    info = compute_pb2.UserInfo.FromString(reply.content[5 : 5 + length])
    assert info.user.id == "daint"
    trailers = reply.content[5 + length :]
    assert trailers[0] == 0x80  # the flag of a frame of trailers
    assert b"grpc-status:0" in trailers


async def test_an_error_over_grpc_web(stack: Stack) -> None:
    request = compute_pb2.GetJobRequest(system="daint", job_id="7")
    path = "/passerelle.v1.ComputeService/GetJob"
    reply = await _web(stack, path, request.SerializeToString())
    assert (reply.status_code, reply.headers["grpc-status"]) == (200, "5")
    assert "x-error-body" not in reply.headers


@pytest.mark.parametrize(
    ("token", "message"),
    [({}, "Not authenticated"), ({"Authorization": "Bearer bob"}, "Access token is invalid.")],
)
async def test_who_has_no_valid_token_is_told_so(
    stack: Stack, channel: grpc.aio.Channel, token: dict[str, str], message: str
) -> None:
    """In the words and with the reason of the services."""
    stub: compute_pb2_grpc.ComputeServiceAsyncStub = compute_pb2_grpc.ComputeServiceStub(channel)
    metadata = tuple((key.lower(), value) for key, value in token.items())
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.GetUserInfo(compute_pb2.GetUserInfoRequest(system="x"), metadata=metadata)
    assert (error.value.code(), error.value.details()) == (grpc.StatusCode.UNAUTHENTICATED, message)
    status = rpc_status.from_call(error.value)  # type: ignore[arg-type]
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.reason == "UNAUTHENTICATED"


@pytest.mark.parametrize("kind", ["application/grpc-web+proto", "application/grpc-web-text"])
@pytest.mark.parametrize(
    ("token", "path", "status", "message"),
    [
        ({}, USER_INFO, "16", "Not authenticated"),
        ({"Authorization": "Bearer bob"}, USER_INFO, "16", "Access token is invalid."),
        (TOKEN, "/passerelle.v1.ComputeService/Nope", "12", "Not Found"),
    ],
)
async def test_refusals_over_grpc_web(
    stack: Stack, kind: str, token: dict[str, str], path: str, status: str, message: str
) -> None:
    """In fields, as its clients read them: any other HTTP status is a broken connection to some."""
    frame = b"AAAAAAA=" if "text" in kind else b"\0\0\0\0\0"
    async with httpx.AsyncClient(base_url=stack.url, headers=token) as client:
        reply = await client.post(path, content=frame, headers={"content-type": kind})
    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["content-type"].startswith("application/grpc-web")
    assert (reply.headers["grpc-status"], reply.headers["grpc-message"]) == (status, message)
    assert reply.headers["grpc-status-details-bin"]

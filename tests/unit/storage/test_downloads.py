"""The limit on a client's downloads holds for every method that downloads, and for no other client."""

import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message_factory import GetMessageClass

from passerelle.firecrest.v2 import filesystem_pb2, transfer_pb2
from passerelle.gateway.contracts import Method, methods
from passerelle.runtime.caller import Caller
from passerelle.storage.staging.streamer.method import Streamer
from passerelle.v1 import storage_pb2, transfers_pb2
from passerelle.v1.access_pb2 import Access
from tests.unit.storage.world import remote, serving_storage

LIMIT = 100_000
CONTRACTS = (storage_pb2, transfers_pb2, filesystem_pb2, transfer_pb2)
DESCRIPTORS = {
    f"/{service.full_name}/{method.name}": method
    for contract in CONTRACTS
    for service in contract.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
DOWNLOADS = [
    method
    for method in methods()
    if method.path in DESCRIPTORS
    and (
        "Download" in method.name
        or (method.server_streaming and DESCRIPTORS[method.path].output_type.name == "HttpBody")
    )
]


class ByClient:
    """An authority for which every token is alice's, issued to the client of that name."""

    async def caller(self, token: str, *, access: Access, system: str) -> Caller:
        return Caller("alice", token, client_id=token)


@pytest.fixture
async def channel(tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    async with remote(tmp_path, download_limits={"portal": LIMIT}) as world:
        parts = world.parts
        streamer = Streamer(parts.config, parts.files, parts.jobs, Streamer.Options(wait_timeout=1))
        staging = world.staging({"streamer": streamer})
        there = replace(world, parts=replace(parts, staging=staging))
        async with serving_storage(there, authority=ByClient()) as opened:
            yield opened
        await staging.close()


def request_of(method: Method, path: Path) -> Any:
    """A request of any of these methods for a file."""
    kind = GetMessageClass(DESCRIPTORS[method.path].input_type)
    if "body" not in kind.DESCRIPTOR.fields_by_name:
        return kind(system="lab", path=str(path))
    request = {"path": str(path), "transferDirectives": {"transferMethod": "streamer"}}
    body = HttpBody(content_type="application/json", data=json.dumps(request).encode())
    return kind(system="lab", body=body)


async def downloaded(
    channel: grpc.aio.Channel, method: Method, path: Path, client: str
) -> grpc.aio.AioRpcError | None:
    """Download a file as one client; the error, if there is one."""
    reply = GetMessageClass(DESCRIPTORS[method.path].output_type)
    how: Any = {
        "request_serializer": lambda message: message.SerializeToString(),
        "response_deserializer": reply.FromString,
    }
    sent: Any = {"metadata": (("authorization", f"Bearer {client}"),), "timeout": 60}
    try:
        if method.server_streaming:
            streamed = channel.unary_stream(method.path, **how)
            async for _ in streamed(request_of(method, path), **sent):
                pass
        else:
            await channel.unary_unary(method.path, **how)(request_of(method, path), **sent)
    except grpc.aio.AioRpcError as error:
        return error
    return None


def test_the_methods_that_download_are_known() -> None:
    assert sorted(method.path for method in DOWNLOADS) == [
        "/passerelle.firecrest.v2.FilesystemService/Download",
        "/passerelle.firecrest.v2.TransferService/Download",
        "/passerelle.v1.StorageService/ReadArchive",
        "/passerelle.v1.StorageService/ReadFile",
        "/passerelle.v1.TransferService/StageDownload",
    ]


@pytest.mark.parametrize("method", DOWNLOADS, ids=lambda method: str(method.path))
async def test_what_is_too_large_for_one_client_is_not_for_others(
    channel: grpc.aio.Channel, tmp_path: Path, method: Method
) -> None:
    large, small = tmp_path / "large", tmp_path / "small"
    # Random bytes, which are no smaller in an archive.
    large.write_bytes(os.urandom(2 * LIMIT))
    small.write_bytes(b"1")
    refused = await downloaded(channel, method, large, "portal")
    assert refused
    assert refused.code() is grpc.StatusCode.PERMISSION_DENIED
    assert refused.details() == f"The client portal may download at most {LIMIT} bytes."
    assert await downloaded(channel, method, small, "portal") is None
    assert await downloaded(channel, method, large, "other") is None


async def test_a_part_of_a_file_that_is_too_large_is_refused_too(
    channel: grpc.aio.Channel, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(2 * LIMIT))
    stub: Any = channel.unary_stream(
        "/passerelle.v1.StorageService/ReadFile",
        request_serializer=storage_pb2.ReadFileRequest.SerializeToString,
        response_deserializer=HttpBody.FromString,
    )
    request = storage_pb2.ReadFileRequest(system="lab", path=str(large))
    with pytest.raises(grpc.aio.AioRpcError, match="may download at most"):
        async for _ in stub(
            request, metadata=(("authorization", "Bearer portal"), ("range", "bytes=0-9"))
        ):
            pass

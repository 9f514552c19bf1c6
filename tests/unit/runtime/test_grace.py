"""Streams that outlive the token that let them in, over a real gRPC channel."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody

from passerelle.runtime.caller import Caller
from passerelle.runtime.headers import REST
from passerelle.runtime.pipeline.grace import Grace
from passerelle.runtime.pipeline.stages import authorise, in_time, map_errors, observe
from passerelle.v1 import storage_pb2, storage_pb2_grpc
from passerelle.v1.access_pb2 import Access
from tests.grpc_service import channel_to

ALICE = (("authorization", "Bearer alice"),)
LONG = 3600.0  # seconds
SAID = "Access token expired while this request went on."


class Authority:
    """Whose tokens all end at once."""

    def __init__(self, left: float) -> None:
        self._expires = time.time() + left

    async def caller(self, token: str, *, access: Access, system: str) -> Caller:
        return Caller(token, token, expires=self._expires)


class Storage(storage_pb2_grpc.StorageServiceServicer):
    """Counts what arrives, and answers for ever."""

    def __init__(self) -> None:
        self.came = 0
        self.ended = asyncio.Event()

    async def WriteFile(self, request: AsyncIterator[Any], context: Any) -> Any:
        try:
            async for _ in request:
                self.came += 1
        finally:
            self.ended.set()
        return storage_pb2.WriteFileResponse(size_bytes=self.came)

    async def ReadFile(self, request: Any, context: Any) -> Any:
        try:
            while True:
                yield HttpBody(data=b"x")
                await asyncio.sleep(0.01)
        finally:
            self.ended.set()

    async def WalkFiles(self, request: Any, context: Any) -> Any:
        yield storage_pb2.WalkFilesResponse(files=[storage_pb2.File(name="one")])
        await asyncio.sleep(LONG)


@asynccontextmanager
async def served(
    storage: Storage, left: float, grace: Grace
) -> AsyncIterator["storage_pb2_grpc.StorageServiceAsyncStub"]:
    """The stub of a service for which every token has `left` seconds to live."""

    def register(server: grpc.aio.Server) -> None:
        storage_pb2_grpc.add_StorageServiceServicer_to_server(storage, server)

    stages = [observe, map_errors, in_time(5), authorise(Authority(left), "s3cret", grace)]
    async with channel_to(register, stages) as opened:
        yield storage_pb2_grpc.StorageServiceStub(opened)


@pytest.fixture
def storage() -> Storage:
    return Storage()  # type: ignore[abstract]  # the other methods are not asked


def request() -> storage_pb2.ReadFileRequest:
    return storage_pb2.ReadFileRequest(system="daint", path="/f")


async def trickle(count: int) -> AsyncIterator[storage_pb2.WriteFileRequest]:
    for _ in range(count):
        yield storage_pb2.WriteFileRequest(system="daint", content=HttpBody(data=b"x"))
        # Seldom enough: grpc.aio calls it an internal error when the call's end meets a message.
        await asyncio.sleep(0.05)


async def test_what_is_still_sent_when_the_token_has_expired_is_not_taken(storage: Storage) -> None:
    async with served(storage, 0.2, Grace(sending=0.1)) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.WriteFile(trickle(10_000), metadata=ALICE, timeout=20)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert str(refused.value.details()).startswith(f"{SAID} What takes long")
    assert storage.came
    assert storage.ended.is_set()


async def test_a_client_that_sends_nothing_more_is_not_waited_for(storage: Storage) -> None:
    async with served(storage, 0.2, Grace(sending=0)) as stub:
        silent: Any = None  # no iterator: messages are written one by one
        call = stub.WriteFile(silent, metadata=ALICE, timeout=20)
        await call.write(storage_pb2.WriteFileRequest(system="daint"))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_grace_is_given(storage: Storage) -> None:
    async with served(storage, 0, Grace(sending=LONG)) as stub:
        reply = await stub.WriteFile(trickle(10), metadata=ALICE, timeout=20)
        assert reply.size_bytes == 10
        call = stub.ReadFile(request(), metadata=ALICE, timeout=20)
        assert [await call.read() for _ in range(10)] == [HttpBody(data=b"x")] * 10
        call.cancel()


async def test_an_answer_ends_at_last_with_what_it_holds(storage: Storage) -> None:
    async with served(storage, 0.1, Grace(answered=0.2)) as stub:
        call = stub.ReadFile(request(), metadata=ALICE, timeout=20)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            [message async for message in call]
    assert (refused.value.code(), refused.value.details()) == (
        grpc.StatusCode.UNAUTHENTICATED,
        SAID,
    )
    assert storage.ended.is_set()


async def test_over_rest_the_last_message_tells(storage: Storage) -> None:
    async with served(storage, 0.1, Grace(answered=0.2)) as stub:
        walk = storage_pb2.WalkFilesRequest(system="daint", path="/")
        call = stub.WalkFiles(walk, metadata=(*ALICE, (REST, "1")), timeout=20)
        *_, last = [message async for message in call]
    assert (last.error.code, last.error.reason) == (401, "UNAUTHENTICATED")

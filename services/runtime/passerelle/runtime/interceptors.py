"""Wraps every handler, unary and streaming alike, in the stages of `stages.py`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message

from passerelle.runtime import firecrest
from passerelle.runtime.access import demands
from passerelle.runtime.errors import DeadlineExceeded
from passerelle.v1.access_pb2 import Access


@dataclass
class Rpc:
    """One RPC being served: its full method name, what it demands, its metadata, context and first request.

    `user` is the caller's account name, once a stage has found it out.
    """

    method: str
    demand: Access
    metadata: dict[str, str]
    context: Any
    request: Message
    user: str | None = None

    @property
    def is_firecrest(self) -> bool:
        """Whether it belongs to the FirecREST profile."""
        return self.method.startswith(f"/{firecrest.PACKAGE}.")


Stage = Callable[[Rpc], AbstractAsyncContextManager[None]]


class Pipeline(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in stubs only
    """Runs every handler inside all stages, the first one outermost. Methods that we do not own pass untouched."""

    def __init__(self, stages: Sequence[Stage], *, timeout: float) -> None:
        self._stages = stages
        self._timeout = timeout

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Wrap the method's handler, keeping its kind."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith("/passerelle."):
            return handler
        entrance = _Entrance(method, handler.request_deserializer)
        wrapped, make = self._wrapped(handler, entrance)
        return make(wrapped, handler.request_deserializer, handler.response_serializer)

    def _wrapped(self, handler: Any, entrance: "_Entrance") -> tuple[Any, Any]:
        if handler.unary_unary:
            return self._unary(handler.unary_unary, entrance), grpc.unary_unary_rpc_method_handler
        if handler.unary_stream:
            return (
                self._streaming(handler.unary_stream, entrance),
                grpc.unary_stream_rpc_method_handler,
            )
        if handler.stream_unary:
            return self._unary(handler.stream_unary, entrance), grpc.stream_unary_rpc_method_handler
        return (
            self._streaming(handler.stream_stream, entrance),
            grpc.stream_stream_rpc_method_handler,
        )

    def _unary(self, call: Any, entrance: "_Entrance") -> Any:
        async def wrapped(request: Any, context: Any) -> Any:
            rpc, request = await entrance.rpc(request, context)
            async with self._around(rpc):
                limit = None if entrance.streams else self._timeout
                async with _deadline(rpc, limit):
                    return await call(request, context)

        return wrapped

    def _streaming(self, call: Any, entrance: "_Entrance") -> Any:
        # Written, not yielded: grpc leaves a cancelled generator to the garbage collector, and with it what it holds.
        async def wrapped(request: Any, context: Any) -> None:
            rpc, request = await entrance.rpc(request, context)
            async with self._around(rpc), aclosing(call(request, context)) as messages:
                async for message in messages:
                    await context.write(message)

        return wrapped

    @asynccontextmanager
    async def _around(self, rpc: Rpc, depth: int = 0) -> AsyncIterator[None]:
        if depth == len(self._stages):
            yield
            return
        async with self._stages[depth](rpc), self._around(rpc, depth + 1):
            yield


class _Entrance:
    """Turns what grpc hands to a handler into an `Rpc`, looking at a request stream's first message."""

    def __init__(self, method: str, deserialize: Callable[[bytes], Message]) -> None:
        self.method = method
        self.streams = False
        self._deserialize = deserialize

    async def rpc(self, request: Any, context: Any) -> tuple[Rpc, Any]:
        metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
        demand = demands(self.method)
        if isinstance(request, Message):
            return Rpc(self.method, demand, metadata, context, request), request
        self.streams = True
        first = await anext(aiter(request), None)
        if first is None:  # a stream that ends before it begins says as much as an empty message
            first = self._deserialize(b"")
        return Rpc(self.method, demand, metadata, context, first), _chain(first, request)


async def _chain(first: Any, rest: Any) -> AsyncIterator[Any]:
    yield first
    async for message in rest:
        yield message


@asynccontextmanager
async def _deadline(rpc: Rpc, limit: float | None) -> AsyncIterator[None]:
    """No unary call outlives its client's deadline or the configured limit; what it started is cancelled."""
    left = rpc.context.time_remaining()
    seconds = min((value for value in (left, limit) if value is not None), default=None)
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise DeadlineExceeded(f"The request took longer than {seconds:.0f} s.") from None

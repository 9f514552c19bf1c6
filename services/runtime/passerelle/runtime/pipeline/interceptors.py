"""Wraps every handler, unary and streaming alike, in the stages of `stages.py`.

Every method is shown to grpc as one that takes a stream of bytes. So grpc reads nothing before a stage asks for the
request, and no message of a refused caller is read.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import Message

from passerelle.runtime.pipeline.rpc import Method, Requests, Rpc
from passerelle.runtime.surface import surfaces

Proceed = Callable[[Rpc], Awaitable[Any]]
Stage = Callable[[Rpc, Proceed], Awaitable[Any]]
"""Does something around an RPC. It awaits its second argument exactly once to go on, or raises an error."""


class Pipeline(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in stubs only
    """Runs every handler inside all stages, the first one outermost. Methods of others are left as they are."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = stages
        self._surfaces = surfaces()
        self._handlers: dict[str, Any] = {}

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """The method's handler, wrapped when it is first called."""
        name = handler_call_details.method
        if handler := self._handlers.get(name):
            return handler
        handler = await continuation(handler_call_details)
        surface = self._surfaces.of_method(name)
        if handler is None or surface is None:
            return handler
        self._handlers[name] = wrapped = self._wrapped(Method(name, surface, handler), handler)
        return wrapped

    def _wrapped(self, method: Method, handler: Any) -> Any:
        proceed = self._through(_action(handler))

        async def serve(_: Any, context: Any) -> Any:
            metadata = dict(context.invocation_metadata() or ())
            return await proceed(Rpc(method, metadata, context, Requests(context, method)))

        make = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        return make(serve, None, _or_bytes(handler.response_serializer))

    def _through(self, proceed: Proceed) -> Proceed:
        """`proceed` inside all stages."""
        for stage in reversed(self._stages):
            proceed = _inside(stage, proceed)
        return proceed


def _inside(stage: Stage, proceed: Proceed) -> Proceed:
    return lambda rpc: stage(rpc, proceed)


def _action(handler: Any) -> Proceed:
    """The rest of the call, inside all stages."""
    if handler.stream_stream:
        return lambda rpc: _written(handler.stream_stream(rpc.requests.all(), rpc.context), rpc)
    if handler.stream_unary:
        return lambda rpc: handler.stream_unary(rpc.requests.all(), rpc.context)
    if handler.unary_stream:
        return partial(_streamed, handler.unary_stream)
    return partial(_called, handler.unary_unary)


def _or_bytes(serialize: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """A serializer that lets through bytes: replies with content are serialized by servicers, and what `broken_off`
    sends is no message."""
    return lambda message: message if isinstance(message, bytes) else serialize(message)


async def _called(call: Callable[[Message, Any], Awaitable[Any]], rpc: Rpc) -> Any:
    return await call(await rpc.requests.only(), rpc.context)


async def _streamed(answers: Callable[[Message, Any], Any], rpc: Rpc) -> None:
    await _written(answers(await rpc.requests.only(), rpc.context), rpc)


async def _written(messages: Any, rpc: Rpc) -> None:
    """Send a stream's messages. Raises CancelledError when the client is gone, which grpc itself may say later.

    Written, not yielded: grpc leaves a cancelled generator to the garbage collector, and with it what it holds.
    """
    async with aclosing(messages):
        async for message in messages:
            try:
                await rpc.context.write(message)
            except grpc.aio.InternalError:
                raise asyncio.CancelledError from None
            rpc.begun = True

"""Wraps every handler, unary and streaming alike, in the stages of `stages.py`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc.aio import EOF  # type: ignore[attr-defined]  # the stubs lack it

from passerelle.runtime import firecrest
from passerelle.runtime.access import demands
from passerelle.runtime.errors import DeadlineExceeded
from passerelle.v1.access_pb2 import Access


@dataclass(slots=True)
class Rpc:
    """One RPC being served: its full method name, what it demands, its metadata, context and first request.

    The request is there for the stages, on their way in.
    `user` is the caller's account name, once a stage has found it out.
    """

    method: str
    demand: Access
    metadata: dict[str, str]
    context: Any
    request: Message
    user: str | None = None
    begun: bool = False
    """Whether a message of the answering stream has been sent."""

    @property
    def is_firecrest(self) -> bool:
        """Whether it belongs to the FirecREST profile."""
        return self.method.startswith(f"/{firecrest.PACKAGE}.")


Proceed = Callable[[], Awaitable[Any]]
Stage = Callable[[Rpc, Proceed], Awaitable[Any]]
"""Does something around an RPC; awaits what it is given exactly once to go on, or raises."""

_JUDGED = Access()  # stands for a request that all stages have seen

_MAKERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


class Pipeline(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in stubs only
    """Runs every handler inside all stages, the first one outermost. Methods that we do not own pass untouched.

    `timeout` bounds calls without streams, in seconds.
    """

    def __init__(self, stages: Sequence[Stage], *, timeout: float) -> None:
        self._stages = stages
        self._timeout = timeout
        self._handlers: dict[str, Any] = {}

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """The method's handler, wrapped when it is first called."""
        method = handler_call_details.method
        if found := self._handlers.get(method):
            return found
        handler = await continuation(handler_call_details)
        if handler is None or not method.startswith("/passerelle."):
            return handler
        self._handlers[method] = wrapped = self._wrapped(method, handler)
        return wrapped

    def _wrapped(self, method: str, handler: Any) -> Any:
        demand = demands(method)
        act = self._action(handler)

        async def serve(request: Any, context: Any) -> Any:
            metadata = dict(context.invocation_metadata() or ())
            first = request
            if handler.request_streaming:
                first = await context.read()
                if first is EOF:  # which says as much as an empty message
                    first = handler.request_deserializer(b"")
                request = _chain([first], context)
            rpc = Rpc(method, demand, metadata, context, first)
            del (
                first
            )  # the first piece of an upload that waits for its turn is kept once, by who needs it

            def proceed() -> Awaitable[Any]:
                rpc.request = _JUDGED
                return act(request, rpc)

            return await self._through(rpc, proceed)

        make = _MAKERS[handler.request_streaming, handler.response_streaming]
        return make(serve, handler.request_deserializer, _or_bytes(handler.response_serializer))

    def _action(self, handler: Any) -> Callable[[Any, Rpc], Awaitable[Any]]:
        """What is left to do inside all stages."""
        if handler.response_streaming:
            answers = handler.stream_stream or handler.unary_stream
            return lambda request, rpc: _written(answers(request, rpc.context), rpc)
        call = handler.stream_unary or handler.unary_unary
        limit = None if handler.request_streaming else self._timeout
        return lambda request, rpc: _in_time(call(request, rpc.context), rpc.context, limit)

    async def _through(self, rpc: Rpc, act: Proceed, depth: int = 0) -> Any:
        if depth == len(self._stages):
            return await act()
        return await self._stages[depth](rpc, lambda: self._through(rpc, act, depth + 1))


def _or_bytes(serialize: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """A serializer that lets through what is serialized already: `broken_off` sends what is no message."""
    return lambda message: message if isinstance(message, bytes) else serialize(message)


async def _chain(first: list[Any], context: Any) -> AsyncIterator[Any]:
    """The first message and all others. Read, not iterated over: grpc's iterator keeps what it gave out last."""
    yield first.pop()
    while (message := await context.read()) is not EOF:
        yield message
        del message


async def _written(messages: Any, rpc: Rpc) -> None:
    """Send a stream's messages.

    Written, not yielded: grpc leaves a cancelled generator to the garbage collector, and with it what it holds.
    """
    async with aclosing(messages):
        async for message in messages:
            await rpc.context.write(message)
            rpc.begun = True


async def _in_time(answer: Awaitable[Any], context: Any, limit: float | None) -> Any:
    """No call outlives its client's deadline or the configured limit; what it started is cancelled."""
    left = context.time_remaining()
    seconds = min((value for value in (left, limit) if value is not None), default=None)
    try:
        async with asyncio.timeout(seconds):
            return await answer
    except TimeoutError:
        raise DeadlineExceeded(f"The request took longer than {seconds:.0f} s.") from None

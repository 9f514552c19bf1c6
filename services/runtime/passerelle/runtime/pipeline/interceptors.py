"""Wraps every handler, unary and streaming alike, in the stages of `stages.py`.

To grpc every method is one that takes a stream of bytes: so it reads nothing before a stage asks for the request, and
whoever may not come in has cost no message.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc.aio import EOF  # type: ignore[attr-defined]  # the stubs lack it

from passerelle.runtime.caller import Caller
from passerelle.runtime.errors import ApiError, DeadlineExceeded
from passerelle.runtime.log_fields import CallFields
from passerelle.runtime.pipeline.access import access_of, contract
from passerelle.runtime.pipeline.decoding import decoded
from passerelle.runtime.pipeline.grace import ending_at
from passerelle.runtime.pipeline.request_fields import RequestFields
from passerelle.runtime.surface import Surface, surfaces
from passerelle.v1.access_pb2 import Access

_REMEDY = " What takes long to send is uploaded in pieces, each with a token that is valid then."


class Requests:
    """What the client of one call sends: read and decoded when it is asked for, and not before.

    `limit` bounds the wait for the first message, in seconds; one that is always `empty` is not waited for. `check`
    raises InvalidArgument for a first message whose fields are missing or wrong.
    """

    def __init__(
        self,
        context: Any,
        decode: Callable[[bytes], Message],
        check: Callable[[Message], None],
        *,
        limit: float,
        empty: bool,
    ) -> None:
        self._context = context
        self._decode = decode
        self._check = check
        self._limit = limit
        self._first = decode(b"") if empty else None
        self.until = math.inf
        """When no more may come, in seconds since the epoch: the caller's token has expired then."""

    async def first(self) -> Message:
        """The first message, for whoever judges the call; an end without one says as much as an empty message.

        Raises InvalidArgument when it cannot be read, or a field is missing or wrong; DeadlineExceeded when it does not
        come.
        """
        if self._first is None:
            first = await self._in_time()
            self._check(first)
            self._first = first
        return self._first

    async def only(self) -> Message:
        """The message of a call that takes one; it is kept no longer."""
        message, self._first = await self.first(), None
        return message

    async def all(self) -> AsyncIterator[Message]:
        """Every message; raises Unauthenticated at `until`."""
        # Read, not iterated over: grpc's iterator keeps what it gave out last.
        yield await self.only()
        while (data := await self._more()) is not EOF:
            yield self._decode(data)
            del data

    async def _more(self) -> Any:
        async with ending_at(self.until, _REMEDY):
            return await self._context.read()

    async def _in_time(self) -> Message:
        try:
            async with asyncio.timeout(self._limit):
                data = await self._context.read()
        except TimeoutError:
            raise DeadlineExceeded("The request did not arrive in time.") from None
        return self._decode(b"" if data is EOF else data)


@dataclass(slots=True)
class Rpc:
    """One RPC being served: its full method name, surface, its access option, its metadata, context and requests.

    `caller` is set once a stage has authenticated it, `error` once the call is answered with one. `fields` are for its
    lines in the logs.
    """

    method: str
    surface: Surface
    access: Access
    metadata: dict[str, str]
    context: Any
    requests: Requests
    caller: Caller | None = None
    error: ApiError | None = None
    fields: CallFields = field(default_factory=CallFields)
    streams: bool = False
    """Whether messages come, or go, in a stream."""
    trusted: bool = False
    """Whether one of our own services calls, and has shown so: what it is told is no refusal of a client."""
    begun: bool = False
    """Whether a message of the answering stream has been sent."""

    @property
    def user(self) -> str | None:
        """The caller's account name."""
        return self.caller.username if self.caller else None


Proceed = Callable[[], Awaitable[Any]]
Stage = Callable[[Rpc, Proceed], Awaitable[Any]]
"""Does something around an RPC; awaits what it is given exactly once to go on, or raises."""


class Pipeline(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in stubs only
    """Runs every handler inside all stages, the first one outermost. Methods that we do not own pass untouched.

    `timeout` bounds calls without streams, in seconds.
    """

    def __init__(self, stages: Sequence[Stage], *, timeout: float) -> None:
        self._stages = stages
        self._timeout = timeout
        self._surfaces = surfaces()
        self._handlers: dict[str, Any] = {}

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """The method's handler, wrapped when it is first called."""
        method = handler_call_details.method
        if handler := self._handlers.get(method):
            return handler
        handler = await continuation(handler_call_details)
        surface = self._surfaces.of_method(method)
        if handler is None or surface is None:
            return handler
        self._handlers[method] = wrapped = self._wrapped(method, surface, handler)
        return wrapped

    def _wrapped(self, method: str, surface: Surface, handler: Any) -> Any:
        access, described = access_of(method), contract(method)
        empty = not described.input_type.fields
        check = RequestFields(described).check
        act = self._action(handler)

        def decode(data: bytes) -> Message:
            return decoded(data, described, handler.request_deserializer)

        streams = handler.request_streaming or handler.response_streaming

        async def serve(_: Any, context: Any) -> Any:
            metadata = dict(context.invocation_metadata() or ())
            requests = Requests(context, decode, check, limit=self._timeout, empty=empty)
            rpc = Rpc(method, surface, access, metadata, context, requests, streams=streams)
            return await self._through(rpc, lambda: act(rpc))

        make = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        return make(serve, None, _or_bytes(handler.response_serializer))

    def _action(self, handler: Any) -> Callable[[Rpc], Awaitable[Any]]:
        """What is left to do inside all stages."""
        if handler.stream_stream:
            return lambda rpc: _written(handler.stream_stream(rpc.requests.all(), rpc.context), rpc)
        if handler.stream_unary:
            call = handler.stream_unary
            return lambda rpc: _in_time(call(rpc.requests.all(), rpc.context), rpc.context, None)
        if handler.unary_stream:
            return lambda rpc: _streamed(handler.unary_stream, rpc)
        return lambda rpc: _in_time(_called(handler.unary_unary, rpc), rpc.context, self._timeout)

    async def _through(self, rpc: Rpc, act: Proceed, depth: int = 0) -> Any:
        if depth == len(self._stages):
            return await act()
        return await self._stages[depth](rpc, lambda: self._through(rpc, act, depth + 1))


def _or_bytes(serialize: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """A serializer that lets through what is serialized already: `broken_off` sends what is no message."""
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


async def _in_time(answer: Awaitable[Any], context: Any, limit: float | None) -> Any:
    """No call outlives its client's deadline or the configured limit; what it started is cancelled."""
    left = context.time_remaining()
    seconds = min((value for value in (left, limit) if value is not None), default=None)
    try:
        async with asyncio.timeout(seconds):
            return await answer
    except TimeoutError:
        raise DeadlineExceeded(f"The request took longer than {seconds:.0f} s.") from None

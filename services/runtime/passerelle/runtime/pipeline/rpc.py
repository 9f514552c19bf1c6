"""One RPC that is being served, what all calls of its method have in common, and what its client sends."""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from grpc.aio import EOF  # type: ignore[attr-defined]  # the stubs lack it

from passerelle.runtime.caller import Caller
from passerelle.runtime.errors import ApiError, DeadlineExceeded
from passerelle.runtime.log_fields import CallFields
from passerelle.runtime.pipeline.access import MethodAccess, access_of, contract
from passerelle.runtime.pipeline.decoding import decoded
from passerelle.runtime.pipeline.grace import ending_at
from passerelle.runtime.pipeline.named_fields import NamedFields
from passerelle.runtime.pipeline.request_fields import RequestFields
from passerelle.runtime.surface import Surface

_REMEDY = " What takes long to send is uploaded in pieces, each with a token that is valid then."


class Method:
    """What all calls of `/package.Service/Method` have in common: read once, from its contract and grpc's handler."""

    def __init__(self, name: str, surface: Surface, handler: Any) -> None:
        self.name = name
        self.surface = surface
        self.takes_stream = handler.request_streaming
        self.gives_stream = handler.response_streaming
        self.descriptor: MethodDescriptor = contract(name)
        self.access = MethodAccess(access_of(name), self.descriptor.input_type)
        self.named = NamedFields(self.descriptor.input_type, surface)
        self.takes_nothing = not self.descriptor.input_type.fields
        self._deserialize = handler.request_deserializer
        self._check = RequestFields(self.descriptor).check

    def decode(self, data: bytes) -> Message:
        """The request that `data` holds; InvalidArgument when it cannot be read."""
        return decoded(data, self.descriptor, self._deserialize)

    def first(self, data: bytes) -> Message:
        """As `decode`, of a call's first message; InvalidArgument also when a field is missing or wrong."""
        message = self.decode(data)
        self._check(message)
        return message


class Requests:
    """What the client of one call sends: read and decoded when it is asked for, and not before.

    A first message that is always empty is not waited for.
    """

    def __init__(self, context: Any, method: Method) -> None:
        self._context = context
        self._method = method
        self._first = method.decode(b"") if method.takes_nothing else None
        self.arrived = method.takes_nothing
        """Whether the first message has arrived."""
        self.limit: float | None = None
        """How long the first message is waited for, s; None where the whole call has a limit."""
        self.until = math.inf
        """When no more may come, in seconds since the epoch: the caller's token has expired then."""

    async def first(self) -> Message:
        """The first message, by which the call is authorised; an empty one when the client sends none.

        Raises InvalidArgument when it cannot be read, or a field is missing or wrong; DeadlineExceeded when it does not
        come.
        """
        if self._first is None:
            data = await (self._context.read() if self.limit is None else self._in_time(self.limit))
            self.arrived = True
            self._first = self._method.first(b"" if data is EOF else data)
        return self._first

    async def only(self) -> Message:
        """The message of a call that takes one. It is not kept, so it can be read once."""
        message, self._first = await self.first(), None
        return message

    async def all(self) -> AsyncIterator[Message]:
        """Every message; raises Unauthenticated at `until`."""
        # Read, not iterated over: grpc's iterator keeps what it gave out last.
        yield await self.only()
        while (data := await self._more()) is not EOF:
            yield self._method.decode(data)
            del data

    async def _more(self) -> Any:
        async with ending_at(self.until, _REMEDY):
            return await self._context.read()

    async def _in_time(self, limit: float) -> Any:
        try:
            async with asyncio.timeout(limit):
                return await self._context.read()
        except TimeoutError:
            raise not_arrived() from None


def not_arrived() -> DeadlineExceeded:
    """The error of a call whose first message does not come."""
    return DeadlineExceeded("The request did not arrive in time.")


@dataclass(slots=True)
class Rpc:
    """One RPC being served: its method, metadata, context and requests.

    `caller` is set once a stage has authenticated it, `error` once the call is answered with one. `fields` are for its
    lines in the logs.
    """

    method: Method
    metadata: dict[str, str]
    context: Any
    requests: Requests
    caller: Caller | None = None
    error: ApiError | None = None
    fields: CallFields = field(default_factory=CallFields)
    trusted: bool = False
    """Whether one of our own services calls, as the shared secret shows. Its errors are no refusals of a client."""
    begun: bool = False
    """Whether a message of the answering stream has been sent."""

    @property
    def user(self) -> str | None:
        """The caller's account name."""
        return self.caller.username if self.caller else None

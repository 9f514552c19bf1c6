"""What each RPC demands of its caller, as its proto says, and which request fields name the system."""

from collections.abc import Iterator
from functools import cache

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from passerelle.runtime.errors import ApiError
from passerelle.v1 import access_pb2
from passerelle.v1.access_pb2 import Access
from passerelle.v1.streams_pb2 import StreamError


def contract(method: str) -> MethodDescriptor:
    """What the contract says of `/package.Service/Method`."""
    service, name = method.lstrip("/").split("/")
    found: MethodDescriptor = (
        descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    )
    return found


@cache
def demands(method: str) -> Access:
    """The `access` option of `/package.Service/Method`.

    Raises LookupError for an RPC without one: that is a bug, and a test finds it.
    """
    options = contract(method).GetOptions()
    if not options.HasExtension(access_pb2.access):
        raise LookupError(f"{method} declares no access")
    return options.Extensions[access_pb2.access]


def system_of(request: Message) -> str:
    """The system that a decoded request names; empty when it names none.

    Read from the message and never from the URL: Envoy's transcoder lets a query parameter override a path variable.
    """
    if "system" not in request.DESCRIPTOR.fields_by_name:
        return ""
    return str(request.system)  # type: ignore[attr-defined]


def other_demands(demand: Access, request: Message) -> Iterator[tuple[Access, str]]:
    """What is demanded on further systems that the request names, and which they are."""
    for also in demand.also:
        further = Access(audience=demand.audience, scope=demand.scope, relation=also.relation)
        yield further, getattr(request, also.field)


NO_MESSAGE = b"\xff"
"""What no message can be read from: Envoy's transcoder answers it by resetting the stream, so that the client sees its
connection break (HTTP/1.1) or its stream fail (HTTP/2). A gRPC status would look to it like the end of the content."""


def broken_off(method: str, error: ApiError) -> Message | bytes:
    """The last message of `/package.Service/Method`'s stream that breaks off over REST: the one that tells the error.

    NO_MESSAGE for a method whose messages have no field for it, such as file content.
    """
    output = contract(method).output_type
    if "error" not in output.fields_by_name:
        return NO_MESSAGE
    told = StreamError(code=error.http, reason=error.reason, message=error.detail)
    return message_factory.GetMessageClass(output)(error=told)

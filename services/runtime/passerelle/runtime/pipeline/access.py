"""The access option of each RPC: what its caller needs, by its contract, and which request fields name the system."""

from collections.abc import Iterator
from functools import cache

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import Message

from passerelle.runtime.errors import ApiError
from passerelle.v1 import access_pb2
from passerelle.v1.access_pb2 import Access
from passerelle.v1.streams_pb2 import StreamError


def contract(method: str) -> MethodDescriptor:
    """The descriptor of `/package.Service/Method`."""
    service, name = method.lstrip("/").split("/")
    methods = descriptor_pool.Default().FindServiceByName(service).methods_by_name
    descriptor: MethodDescriptor = methods[name]
    return descriptor


@cache
def access_of(method: str) -> Access:
    """The `access` option of `/package.Service/Method`.

    Raises LookupError for an RPC without one: that is a bug, and a test finds it.
    """
    options = contract(method).GetOptions()
    if not options.HasExtension(access_pb2.access):
        raise LookupError(f"{method} declares no access")
    return options.Extensions[access_pb2.access]


class MethodAccess:
    """The access option of a method, ready to be enforced. `kind` describes its requests.

    `headers` is the part that does not depend on the request; it is checked before a request is read.
    """

    def __init__(self, access: Access, kind: Descriptor) -> None:
        self.audience = access.audience
        self.changes = access.effect == Access.CHANGES
        self.headers = Access(audience=access.audience, scope=access.scope)
        field = "system" if "system" in kind.fields_by_name else None
        own = [(access, field)] if access.relation else []
        self._systems = [*own, *((_further(access, also), also.field) for also in access.also)]

    def of_systems(self, request: Message) -> Iterator[tuple[Access, str]]:
        """The access needed to each system that `request` names, with the system's name; empty when it names none.

        Read from the message and never from the URL: Envoy's transcoder lets a query parameter override a path
        variable.
        """
        for access, field in self._systems:
            yield access, getattr(request, field) if field else ""


def _further(access: Access, also: Access.Also) -> Access:
    return Access(audience=access.audience, scope=access.scope, relation=also.relation)


NO_MESSAGE = b"\xff"
"""Bytes that are no message: Envoy's transcoder resets the stream for them, so that the client's connection breaks
(HTTP/1.1) or its stream fails (HTTP/2). A gRPC status would look like the end of the content to it."""


def broken_off(method: str, error: ApiError) -> Message | bytes:
    """The last message of a stream of `/package.Service/Method` that fails over REST: the one with the error.

    NO_MESSAGE for a method whose messages have no field for errors, such as file content.
    """
    output = contract(method).output_type
    if "error" not in output.fields_by_name:
        return NO_MESSAGE
    last = StreamError(code=error.http, reason=error.reason, message=error.detail)
    return message_factory.GetMessageClass(output)(error=last)

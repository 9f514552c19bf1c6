"""What each RPC demands of its caller, as its proto says, and which request fields name the system."""

from functools import cache

from google.protobuf import descriptor_pool
from google.protobuf.message import Message

from passerelle.v1 import access_pb2


@cache
def demands(method: str) -> access_pb2.Access:
    """The `access` option of `/package.Service/Method`.

    Raises LookupError for an RPC without one: that is a bug, and a test finds it.
    """
    service, name = method.lstrip("/").split("/")
    found = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    options = found.GetOptions()
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

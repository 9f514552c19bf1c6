"""What a request must hold, as its contract says: `google.api.field_behavior` REQUIRED (AIP-203)."""

from google.api import annotations_pb2, field_behavior_pb2
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from passerelle.runtime.errors import Field, InvalidArgument

_MISSING = "must be given"


class RequiredFields:
    """The fields that every request of one method must set, read from the contract once.

    Fields of messages within the request are left to the method's servicer, which tells all that is wrong with such a
    message at once.
    """

    def __init__(self, method: MethodDescriptor) -> None:
        self._fields = [
            (field.name, field.has_presence, _location(field, method))
            for field in method.input_type.fields
            if is_required(field)
        ]

    def check(self, request: Message) -> None:
        """Raise InvalidArgument that names each required field which `request` lacks."""
        missing = [
            Field(location, name, _MISSING)
            for name, has_presence, location in self._fields
            if not (request.HasField(name) if has_presence else getattr(request, name))
        ]
        if missing:
            names = "; ".join(f"{field.name} {_MISSING}" for field in missing)
            raise InvalidArgument(names, tuple(missing))


def is_required(field: FieldDescriptor) -> bool:
    """Whether the contract marks a field as REQUIRED."""
    behavior = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return field_behavior_pb2.REQUIRED in behavior


def _location(field: FieldDescriptor, method: MethodDescriptor) -> str:
    """Where a REST call of `method` carries a field: `path`, `body` or `query`."""
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    if f"{{{field.name}}}" in getattr(rule, rule.WhichOneof("pattern") or "get"):
        return "path"
    return "body" if rule.body in ("*", field.name) else "query"

"""What the fields of a request must hold, as its contract says: `google.api.field_behavior` REQUIRED (AIP-203), and
`google.api.field_info` UUID4 (AIP-155, AIP-202)."""

import re
from collections.abc import Iterator

from google.api import annotations_pb2, field_behavior_pb2, field_info_pb2
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from passerelle.runtime.errors import Field, InvalidArgument

_MISSING = "must be given"
_NO_UUID4 = "must be a UUID4, such as f47ac10b-58cc-4372-a567-0e02b2c3d479"
# RFC 9562, section 5.4.
_UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.I)


class RequestFields:
    """Which fields of one method's requests must be set, and which must be a UUID4; read from the contract once.

    Fields of messages within the request are left to the method's servicer, which tells all that is wrong with such a
    message at once.
    """

    def __init__(self, method: MethodDescriptor) -> None:
        fields = method.input_type.fields
        where = {field.name: _location(field, method) for field in fields}
        self._required = [
            (field.name, field.has_presence, where[field.name])
            for field in fields
            if is_required(field)
        ]
        self._uuids = [(field.name, where[field.name]) for field in fields if is_uuid4(field)]

    def check(self, request: Message) -> None:
        """Raise InvalidArgument that names each field of `request` which is missing, or no UUID4."""
        if fields := tuple(self._violations(request)):
            raise InvalidArgument(
                "; ".join(f"{field.name} {field.message}" for field in fields), fields
            )

    def _violations(self, request: Message) -> Iterator[Field]:
        for name, has_presence, location in self._required:
            if not (request.HasField(name) if has_presence else getattr(request, name)):
                yield Field(location, name, _MISSING)
        for name, location in self._uuids:
            value = getattr(request, name)
            if value and not _UUID4.fullmatch(value):
                yield Field(location, name, _NO_UUID4)


def is_required(field: FieldDescriptor) -> bool:
    """Whether the contract marks a field as REQUIRED."""
    behavior = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return field_behavior_pb2.REQUIRED in behavior


def is_uuid4(field: FieldDescriptor) -> bool:
    """Whether the contract gives a field the form of a UUID4."""
    info = field.GetOptions().Extensions[field_info_pb2.field_info]
    return bool(info.format == field_info_pb2.FieldInfo.UUID4)


def _location(field: FieldDescriptor, method: MethodDescriptor) -> str:
    """Where a REST call of `method` carries a field: `path`, `body` or `query`."""
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    if f"{{{field.name}}}" in getattr(rule, rule.WhichOneof("pattern") or "get"):
        return "path"
    return "body" if rule.body in ("*", field.name) else "query"

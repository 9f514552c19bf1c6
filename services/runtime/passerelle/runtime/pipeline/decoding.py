"""Decodes requests.

grpc itself would answer a request that it cannot decode with internal details, before the caller is authenticated.
"""

import logging
from collections.abc import Callable
from typing import Any

from google.api import annotations_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from passerelle.runtime.errors import Field, InvalidArgument

log = logging.getLogger(__name__)

# pydantic's words for it (error type `string_unicode`): those that wrong bodies get, too.
_NO_TEXT = "Input should be a valid string, unable to parse raw data as a unicode string"


def decoded(data: bytes, method: MethodDescriptor, deserialize: Callable[[bytes], Any]) -> Message:
    """The request message of `method` that `data` holds.

    Raises InvalidArgument, with the field whose text is not UTF-8 where that is what is wrong.
    """
    try:
        message: Message = deserialize(data)
    except DecodeError as error:
        log.debug("a request of %s cannot be read: %s", method.full_name, error)
        raise _unreadable(data, method) from None
    return message


def _unreadable(data: bytes, method: MethodDescriptor) -> InvalidArgument:
    name = _not_utf8(method.input_type, data)
    if name is None:
        return InvalidArgument("The request cannot be read: it is no message of this method.")
    location = _location(name, method)
    return InvalidArgument(
        f"1 validation error: {location}.{name}: {_NO_TEXT}", (Field(location, name, _NO_TEXT),)
    )


def _not_utf8(kind: Descriptor, data: bytes) -> str | None:
    """The first text field that is not UTF-8, by its JSON name (`job.name` within a message); None without one."""
    try:
        sent: Any = UnknownFieldSet(Empty.FromString(data))
    except DecodeError:
        return None
    for one in sent:
        field = kind.fields_by_number.get(one.field_number)
        if field is None or not isinstance(one.data, bytes):
            continue
        if field.type == FieldDescriptor.TYPE_STRING and not _is_utf8(one.data):
            return str(field.json_name)
        if field.message_type and (inner := _not_utf8(field.message_type, one.data)):
            return f"{field.json_name}.{inner}"
    return None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _location(name: str, method: MethodDescriptor) -> str:
    """Where a REST call of `method` carries a text that Envoy passes on unread: bodies are checked there."""
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    template = getattr(rule, rule.WhichOneof("pattern") or "get")
    fields = method.input_type.fields
    return (
        "path"
        if any(f.json_name == name and f"{{{f.name}}}" in template for f in fields)
        else "query"
    )

"""Reads bodies and queries as leniently as FirecREST does, and names their faults in its words."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, TypeVar

import orjson
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import Message
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from passerelle.runtime.errors import Field, InvalidArgument

M = TypeVar("M", bound=BaseModel)


_NO_OBJECT = "Input should be a valid dictionary or object to extract fields from"


class Model(BaseModel):
    """Base of request bodies and queries: camelCase or snake_case names, unknown ones ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", hide_input_in_errors=True
    )


SOURCE_PATH = AliasChoices("sourcePath", "source_path", "path")
"""The three spellings of a path in a body; the first that is sent wins."""


def _no_nul(text: Any) -> Any:
    if isinstance(text, str) and "\0" in text:
        raise ValueError("Input should not contain NUL characters")
    return text


Text = Annotated[str, BeforeValidator(_no_nul)]
"""A string without NUL characters, which no command line, path or environment can carry."""


def read_body(model: type[M], body: HttpBody) -> M:
    """The validated JSON body; InvalidArgument names its faults as FirecREST's `data.fields` does."""
    if not body.data:
        raise _invalid([Field("body", None, "Field required")])
    if not _is_json(body.content_type):
        raise _invalid([Field("body", None, _NO_OBJECT)])
    try:
        data = json_of(body)
    except json.JSONDecodeError as error:
        raise _invalid([Field("body", str(error.pos), "JSON decode error")]) from None
    if not isinstance(data, dict):
        raise _invalid([Field("body", None, _NO_OBJECT)])
    return validate(model, data, "body")


def json_of(body: HttpBody) -> Any:
    """The value of a JSON body in UTF-8, UTF-16 or UTF-32, with or without a byte order mark, as FirecREST reads it.

    Raises json.JSONDecodeError.
    """
    data = body.data  # each access makes a copy
    encoding = json.detect_encoding(data)
    if encoding == "utf-8":
        return orjson.loads(data)
    try:
        return orjson.loads(data.decode(encoding))
    except UnicodeDecodeError as error:
        raise json.JSONDecodeError("Not in its encoding", "", error.start) from None


def _is_json(content_type: str) -> bool:
    """Whether FirecREST reads this type as JSON. No type counts, too: pyfirecrest before 3.7.1 sends none."""
    kind = content_type.partition(";")[0].strip().lower()
    suffixed = kind.startswith("application/") and kind.endswith("+json")
    return suffixed or kind in ("", "application/json")


def read_query(model: type[M], request: Message) -> M:
    """The validated query: the optional string fields of `request` that were sent, by their JSON names."""
    sent = {
        shown: getattr(request, name)
        for name, shown in _optional_texts(request.DESCRIPTOR)
        if request.HasField(name)
    }
    return validate(model, sent, "query")


@cache
def _optional_texts(kind: Any) -> tuple[tuple[str, str], ...]:
    """The optional string fields of a kind of request, each with its JSON name."""
    return tuple(
        (field.name, field.json_name)
        for field in kind.fields
        if field.has_presence and field.message_type is None
    )


def validate(model: type[M], data: Mapping[str, Any], location: str) -> M:
    """`data` as a `model`; InvalidArgument names the fields as sent, by their outermost name."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        raise _invalid([_field(item, location) for item in faults]) from None


def _field(item: Any, location: str) -> Field:
    message = item["msg"].removeprefix("Value error, ")
    return Field(location, str(item["loc"][0]) if item["loc"] else None, message)


def _invalid(fields: list[Field]) -> InvalidArgument:
    count = f"{len(fields)} validation error{'s' if len(fields) > 1 else ''}"
    detail = "; ".join(f"{f.location}{'.' + f.name if f.name else ''}: {f.message}" for f in fields)
    return InvalidArgument(f"{count}: {detail}", tuple(fields))

"""What the FirecREST v2 profile's adapters share: replies, error bodies, lenient parsing.

The rules are those of the FirecREST v2 contract (snapshot 2.5.7-OPEN, recorded on real systems);
`docs/firecrest-profile.md` tells where we differ on purpose. The adapters stand beside each service's `server.py`.

Each adapter tells `proto/openapi.py` what its methods take and give, in a module-level mapping by method name:
`OPENAPI = {"SubmitJob": Operation(body=SubmitJobBody, replies={201: SubmittedJob}), …}`.
"""

import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import orjson
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import Message
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from passerelle.runtime import errors
from passerelle.runtime.config.site import System

PACKAGE = "passerelle.firecrest.v2"
VERSION = "2.6.0"
"""What `F7T-AppVersion` says: the API level that pyfirecrest 3.10 unlocks everything for."""

# Where FirecREST answers otherwise than our native surface. First match wins.
_STATUS: tuple[tuple[type[errors.ApiError], int], ...] = (
    (errors.AlreadyExists, 400),
    (errors.ConnectionFailed, 424),
    (errors.DeadlineExceeded, 408),
    (errors.BackendError, 500),
)

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Operation:
    """What the OpenAPI document says of one profile method, beyond what its proto can.

    `body` and `query` are the models that validate them. `replies` maps the statuses of success to what the body then
    is: a TypedDict (of `typing_extensions`, as pydantic wants) or a pydantic model for JSON, `bytes` for file content,
    None for no body. What has a docstring is described by it.
    """

    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    replies: Mapping[int, Any] = field(default_factory=dict)


def status_of(error: errors.ApiError) -> int:
    """The HTTP status FirecREST gives to an error."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), error.http)


def body_of(error: errors.ApiError, user: str | None) -> dict[str, Any]:
    """FirecREST's error body: five keys, nulls included. `user` is None before authentication.

    What is refused by the system behind, for a reason of its own, is no validation error to FirecREST.
    """
    validates = error.reason == errors.InvalidArgument.reason
    fields = error.fields if validates and isinstance(error, errors.InvalidArgument) else ()
    listed = [{"location": f.location, "name": f.name, "message": f.message} for f in fields]
    return {
        "errorType": "validation" if listed else "error",
        "message": error.detail,
        "causedBy": None,
        "data": {"fields": listed} if listed else None,
        "user": user,
    }


def json_reply(value: Any) -> HttpBody:
    """A JSON reply with every key of `value` printed, nulls included."""
    return HttpBody(content_type="application/json", data=orjson.dumps(value))


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
    """The validated JSON body; InvalidArgument names what is wrong as FirecREST's `data.fields` does."""
    if not body.data:
        raise _invalid([errors.Field("body", None, "Field required")])
    if not _is_json(body.content_type):
        wrong = "Input should be a valid dictionary or object to extract fields from"
        raise _invalid([errors.Field("body", None, wrong)])
    try:
        data = json_of(body)
    except json.JSONDecodeError as error:
        raise _invalid([errors.Field("body", str(error.pos), "JSON decode error")]) from None
    if not isinstance(data, dict):
        wrong = "Input should be a valid dictionary or object to extract fields from"
        raise _invalid([errors.Field("body", None, wrong)])
    return validate(model, data, "body")


def json_of(body: HttpBody) -> Any:
    """What a JSON body says, in UTF-8, 16 or 32, with or without a byte order mark, as FirecREST reads it.

    Raises json.JSONDecodeError.
    """
    encoding = json.detect_encoding(body.data)
    if encoding == "utf-8":
        return orjson.loads(body.data)
    try:
        return orjson.loads(body.data.decode(encoding))
    except UnicodeDecodeError as error:
        raise json.JSONDecodeError("Not in its encoding", "", error.start) from None


def _is_json(content_type: str) -> bool:
    """What is JSON to FirecREST, and a body without a type: pyfirecrest before 3.7.1 sends none."""
    kind = content_type.partition(";")[0].strip().lower()
    suffixed = kind.startswith("application/") and kind.endswith("+json")
    return suffixed or kind in ("", "application/json")


def read_query(model: type[M], request: Message) -> M:
    """The validated query: the optional string fields of `request` that were sent, by their JSON names."""
    sent = {
        field.json_name: getattr(request, field.name)
        for field, _ in request.ListFields()
        if field.has_presence and field.message_type is None
    }
    return validate(model, sent, "query")


def validate(model: type[M], data: Mapping[str, Any], location: str) -> M:
    """`data` as a `model`; InvalidArgument names the fields as sent, by their outermost name."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise _invalid([_field(item, location) for item in found]) from None


def _field(item: Any, location: str) -> errors.Field:
    message = item["msg"].removeprefix("Value error, ")
    return errors.Field(location, str(item["loc"][0]) if item["loc"] else None, message)


def _invalid(fields: list[errors.Field]) -> errors.InvalidArgument:
    count = f"{len(fields)} validation error{'s' if len(fields) > 1 else ''}"
    told = "; ".join(f"{f.location}{'.' + f.name if f.name else ''}: {f.message}" for f in fields)
    return errors.InvalidArgument(f"{count}: {told}", tuple(fields))


def checked_path(system: System, path: str | None) -> str:
    """A path as a request gave it, after FirecREST's checks, in FirecREST's words; normalised.

    Raises InvalidArgument when it is absent, relative, or outside the system's filesystems.
    """
    if path is None:
        raise errors.InvalidArgument(
            "Unable to decode request and retreive the required path or source_path parameter."
        )
    if "\0" in path:
        raise errors.InvalidArgument("The provided path contains a NUL character.")
    if not path.startswith("/"):
        raise errors.InvalidArgument(f"The provided path ({path}) is not an absolute path.")
    normal = posixpath.normpath("/" + path.lstrip("/"))
    if system.filesystems and not any(inside(normal, fs.path) for fs in system.filesystems):
        raise errors.InvalidArgument(
            f"The provided path ({normal}) does not match any of the defined filesystem paths "
            f"for the requested system ({system.name})."
        )
    return normal


def inside(path: str, root: str) -> bool:
    """Whether a normalised path is `root` or below it, by components."""
    return path == root or path.startswith(root.rstrip("/") + "/")

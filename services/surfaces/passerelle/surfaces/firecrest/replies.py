"""What the adapters of FirecREST's API answer with, and how they describe it.

Each adapter tells `proto/openapi.py` what its methods take and give, in a module-level mapping by method name:
`OPENAPI = {"SubmitJob": Operation(body=SubmitJobBody, replies={201: SubmittedJob}), …}`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from google.api.httpbody_pb2 import HttpBody
from pydantic import BaseModel

from passerelle.runtime.headers import HTTP_STATUS


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


def json_reply(value: Any) -> HttpBody:
    """A JSON reply with every key of `value` printed, nulls included."""
    return HttpBody(content_type="application/json", data=orjson.dumps(value))


async def set_status(context: Any, status: int) -> None:
    """Answer with an HTTP status that is not 200; last of all, because an error could no longer change it."""
    await context.send_initial_metadata(((HTTP_STATUS, str(status)),))

"""The replies of the adapters of FirecREST's API, and their descriptions.

Each adapter describes the requests and replies of its methods in a module-level mapping by method name, which
`surface.py` names:
`OPENAPI = {"SubmitJob": Operation(body=SubmitJobBody, replies={201: SubmittedJob}), …}`.
"""

from typing import Any

import orjson
from google.api.httpbody_pb2 import HttpBody

from passerelle.runtime.headers import HTTP_STATUS


def json_reply(value: Any) -> HttpBody:
    """A JSON reply with every key of `value` printed, nulls included."""
    return HttpBody(content_type="application/json", data=orjson.dumps(value))


async def set_status(context: Any, status: int) -> None:
    """Answer with an HTTP status other than 200. To be called last, since a later error cannot change it."""
    await context.send_initial_metadata(((HTTP_STATUS, str(status)),))

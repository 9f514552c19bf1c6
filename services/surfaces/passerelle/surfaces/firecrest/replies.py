"""The replies of the adapters of FirecREST's API, and their descriptions.

Each adapter tells what its methods take and give, in a module-level mapping by method name that `surface.py` names:
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
    """Answer with an HTTP status that is not 200; last of all, because an error could no longer change it."""
    await context.send_initial_metadata(((HTTP_STATUS, str(status)),))

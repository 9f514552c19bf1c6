"""Differences between versions of pyfirecrest in transfers; requests do not name their client.

pyfirecrest 3.0 to 3.6, written for FirecREST before 2.4.2, sends JSON bodies without `Content-Type`. FirecREST before
2.4 took `fileName` and `fileSize` beside the directory instead of `transferDirectives`, staged with S3 alone, and had
the members of today's `transferDirectives` in the reply itself.

Only newer versions use the spelling `transfer_directives`. They request s3 when their caller names no method, and then
follow the reply's directives, if those are for s3 or streamer.
"""

import json
from collections.abc import Container
from typing import Any

import orjson
from google.api.httpbody_pb2 import HttpBody

from passerelle.firecrest.v2.filesystem_pb2 import BodyRequest
from passerelle.storage.firecrest.transfer_bodies import StagedReply
from passerelle.surfaces.firecrest.bodies import SOURCE_PATH, json_of


def is_old(request: BodyRequest) -> bool:
    """Whether a request comes from pyfirecrest 3.0 to 3.6."""
    return not request.body.content_type


def adapted(request: BodyRequest, methods: Container[str]) -> BodyRequest:
    """The request in the form of FirecREST 2.4 and later, for a method that the client understands and the system has,
    if there is one; `methods` are the names of the system's."""
    if is_old(request):
        return _with_directives(request)
    if "s3" not in methods and "streamer" in methods:
        return _by_streamer(request)
    return request


def _by_streamer(request: BodyRequest) -> BodyRequest:
    """A newer client's request for s3 as one for streamer."""
    body = _object(request)
    directives = body.get("transfer_directives")
    if not isinstance(directives, dict):
        return request
    for spelling in ("transferMethod", "transfer_method"):
        if directives.get(spelling) == "s3":
            directives[spelling] = "streamer"
    return _with_body(request, body)


def _with_directives(request: BodyRequest) -> BodyRequest:
    """An old client's request with the `transferDirectives` that it lacks."""
    body = _object(request)
    if not body or body.keys() & {"transferDirectives", "transfer_directives"}:
        return request
    return _with_body(request, _translated(body))


def _object(request: BodyRequest) -> dict[str, Any]:
    """The JSON object in the body; an empty one for any other body, which is refused later."""
    try:
        body = json_of(request.body)
    except json.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _with_body(request: BodyRequest, value: dict[str, Any]) -> BodyRequest:
    body = HttpBody(content_type=request.body.content_type, data=orjson.dumps(value))
    return BodyRequest(system=request.system, body=body)


def _translated(body: dict[str, Any]) -> dict[str, Any]:
    directives = {"transferMethod": "s3", "fileSize": body.get("fileSize")}
    paths = {
        spelling: f"{body[spelling]}/{body['fileName']}"
        for spelling in SOURCE_PATH.choices
        if spelling in body and "fileName" in body  # of an upload
    }
    return {**body, **paths, "transferDirectives": directives}


def for_old_client(reply: StagedReply) -> dict[str, Any]:
    """The reply with its directives also beside `transferDirectives`. The asynchronous 3.6 looks for one of them in
    there, by its name in snake_case."""
    directives: dict[str, Any] = {**reply["transferDirectives"]}
    if "completeUploadUrl" in directives:
        directives["complete_upload_url"] = directives["completeUploadUrl"]
    return {**reply["transferDirectives"], **reply, "transferDirectives": directives}

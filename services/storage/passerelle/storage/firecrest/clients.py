"""What transfers have to know of the clients that ask for them, which name themselves nowhere.

pyfirecrest 3.0 to 3.6, written for FirecREST before 2.4.2, is known by JSON bodies without `Content-Type`. FirecREST
before 2.4 took `fileName` and `fileSize` beside the directory instead of `transferDirectives`, staged with S3 alone,
and had in the reply itself what is now in its `transferDirectives`.

Newer ones are known by `transfer_directives`, as nobody else spells it. They ask for s3 when their caller has not said
what to use, and then do what the reply says.
"""

import json
from typing import Any

import orjson
from google.api.httpbody_pb2 import HttpBody

from passerelle.firecrest.v2.filesystem_pb2 import BodyRequest
from passerelle.runtime.firecrest import SOURCE_PATH, json_of
from passerelle.storage.firecrest.transfer_bodies import StagedReply


def is_old(request: BodyRequest) -> bool:
    """Whether a request comes from such a client."""
    return not request.body.content_type


def takes_any(request: BodyRequest) -> bool:
    """Whether a well-formed request comes from a client that does what the reply's `transferMethod` says."""
    return not is_old(request) and "transfer_directives" in json_of(request.body)


def with_directives(request: BodyRequest) -> BodyRequest:
    """The request as FirecREST takes it since 2.4: an old client's gets the `transferDirectives` that it lacks."""
    if not is_old(request):
        return request
    try:
        given = json_of(request.body)
    except json.JSONDecodeError:
        return request  # whoever reads it tells what is wrong
    if not isinstance(given, dict) or given.keys() & {"transferDirectives", "transfer_directives"}:
        return request
    body = HttpBody(data=orjson.dumps(_translated(given)))
    return BodyRequest(system=request.system, body=body)


def _translated(given: dict[str, Any]) -> dict[str, Any]:
    directives = {"transferMethod": "s3", "fileSize": given.get("fileSize")}
    paths = {
        spelling: f"{given[spelling]}/{given['fileName']}"
        for spelling in SOURCE_PATH.choices
        if spelling in given and "fileName" in given  # of an upload
    }
    return {**given, **paths, "transferDirectives": directives}


def for_old_client(reply: StagedReply) -> dict[str, Any]:
    """The reply with its directives also beside `transferDirectives`. The asynchronous 3.6 looks for one of them in
    there, by its name in snake_case."""
    directives: dict[str, Any] = {**reply["transferDirectives"]}
    if "completeUploadUrl" in directives:
        directives["complete_upload_url"] = directives["completeUploadUrl"]
    return {**reply["transferDirectives"], **reply, "transferDirectives": directives}

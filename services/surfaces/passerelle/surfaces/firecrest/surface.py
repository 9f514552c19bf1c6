"""The registration of FirecREST's API."""

import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.descriptor import Descriptor

from passerelle.runtime.errors import ApiError, InvalidArgument
from passerelle.runtime.surface import Surface
from passerelle.surfaces.firecrest.bodies import json_of

_VERSION = "2.6.0"
"""What `F7T-AppVersion` says: the API level that pyfirecrest 3.10 unlocks everything for."""

_TEXT = {"type": "string"}
_FIELD = {
    "type": "object",
    "required": ["location", "name", "message"],
    "properties": {
        "location": {"enum": ["body", "query", "path"]},
        "name": {"type": ["string", "null"]},
        "message": _TEXT,
    },
}
_ERROR_SCHEMA = {
    "type": "object",
    "description": "An error, as FirecREST v2 has it.",
    "required": ["errorType", "message", "causedBy", "data", "user"],
    "properties": {
        "errorType": {"enum": ["error", "validation"]},
        "message": _TEXT | {"description": "What went wrong, for people."},
        "causedBy": {"type": ["array", "null"], "items": _TEXT},
        "data": {
            "type": ["object", "null"],
            "properties": {"fields": {"type": "array", "items": _FIELD}},
        },
        "user": {"type": ["string", "null"], "description": "The caller's account name."},
    },
}

_AUDITED = {
    "path": ("sourcePath", "source_path", "path"),
    "target": ("targetPath", "target_path", "linkPath", "link_path"),
}
"""Fields of the audit log, and the keys of a JSON body that may hold them; the first key that is present counts."""


_WORDS = {"JOB_LIMIT_EXCEEDED": "Job submission rejected: accounting/QOS policy limit exceeded. "}
"""What FirecREST writes before a system's own message, by the reasons of errors."""


class Firecrest(Surface):
    """FirecREST v2. It answers for every path that is no other surface's, as FirecREST itself does."""

    name = "firecrest"
    packages = ("passerelle.firecrest.v2",)
    prefixes = ("/",)
    statuses: ClassVar[Mapping[str, int]] = {
        "ALREADY_EXISTS": 400,
        "CONNECTION_FAILED": 424,
        "DEADLINE_EXCEEDED": 408,
        "BACKEND_ERROR": 500,
        "TARGET_EXISTS": 403,
    }
    error_schema: ClassVar[Mapping[str, Any]] = _ERROR_SCHEMA
    title = "FirecREST v2"
    schema_prefix = "firecrest."
    groups: ClassVar[Mapping[str, str]] = {
        "status": "Systems, their health, nodes, partitions and reservations.",
        "compute": "Jobs.",
        "filesystem": "Files.",
    }
    described: ClassVar[Mapping[str, str]] = {
        f"passerelle.firecrest.v2.{service}": f"passerelle.{module}:OPENAPI"
        for service, module in {
            "ComputeService": "compute.firecrest.compute_service",
            "FilesystemService": "storage.firecrest.filesystem_service",
            "StatusService": "gateway.firecrest.status_service",
            "TransferService": "storage.firecrest.transfer_service",
        }.items()
    }
    reply_headers: ClassVar[Mapping[str, str]] = {
        "f7t-appversion": _VERSION,
        "f7t-timestamp": "%START_TIME(%s.%6f)%",  # seconds since the epoch, with fractions
    }
    case_insensitive = True
    redirects_slashes = True
    http_1_0 = True

    def body(self, error: ApiError, *, status: int, user: str | None) -> Mapping[str, Any]:
        """FirecREST's error body: five keys, nulls included.

        What is refused by the system behind, for a reason of its own, is no validation error to FirecREST.
        """
        validates = error.reason == InvalidArgument.reason
        fields = error.fields if validates and isinstance(error, InvalidArgument) else ()
        listed = [{"location": f.location, "name": f.name, "message": f.message} for f in fields]
        return {
            "errorType": "validation" if listed else "error",
            "message": f"{_WORDS.get(error.reason, '')}{error.detail}",
            "causedBy": None,
            "data": {"fields": listed} if listed else None,
            "user": user,
        }

    def headers_of(self, user: str) -> Mapping[str, str]:
        """The caller's account name."""
        return {"f7t-authusername": user}

    def about(self, kind: Descriptor) -> Callable[[Any], Mapping[str, str]] | None:
        """The paths that a JSON body names."""
        body = kind.fields_by_name.get("body")
        return _paths if body and body.message_type is HttpBody.DESCRIPTOR else None


def _paths(request: Any) -> Mapping[str, str]:
    values = _object(request.body)
    named = {
        name: next((values[key] for key in keys if key in values), None)
        for name, keys in _AUDITED.items()
    }
    return {name: value for name, value in named.items() if value and isinstance(value, str)}


def _object(body: HttpBody) -> Mapping[str, Any]:
    """The JSON object that a body is; empty for anything else, which the handler will refuse."""
    try:
        value = json_of(body)
    except json.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}

"""The registration of our own API. Its errors have the JSON form of AIP-193 (https://google.aip.dev/193)."""

from collections.abc import Mapping
from typing import Any, ClassVar

from passerelle.runtime.errors import DOMAIN, ApiError, InvalidArgument
from passerelle.runtime.surface import Surface

_TEXT = {"type": "string"}
_ERROR_SCHEMA = {
    "type": "object",
    "description": "An error, as AIP-193 has it.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "status", "message", "details"],
            "properties": {
                "code": {"type": "integer", "description": "The HTTP status."},
                "status": _TEXT | {"description": "The name of the gRPC status."},
                "message": _TEXT | {"description": "What went wrong, for people."},
                "details": {
                    "type": "array",
                    "description": "For programs: a google.rpc.ErrorInfo with `reason`, and more.",
                    "items": {"type": "object", "properties": {"@type": _TEXT, "reason": _TEXT}},
                },
            },
        }
    },
}
_TYPES = "type.googleapis.com/google.rpc"


class Native(Surface):
    """Our own API. To show an error differently in this API alone, add its reason to `replaced` or `statuses`."""

    name = "native"
    packages = ("passerelle.v1",)
    prefixes = ("/v1/",)
    error_schema: ClassVar[Mapping[str, Any]] = _ERROR_SCHEMA
    title = "Native"
    schema_prefix = ""
    heads = frozenset({"passerelle.v1.StorageService/ReadFile"})

    def body(self, error: ApiError, *, status: int, user: str | None) -> Mapping[str, Any]:
        """The `google.rpc.Status` of an error as JSON; `code` is the HTTP status."""
        return {
            "error": {
                "code": status,
                "status": error.code.name,
                "message": error.detail,
                "details": [_info(error), *_violations(error)],
            }
        }


def _info(error: ApiError) -> dict[str, Any]:
    info = {"reason": error.reason, "domain": DOMAIN, "metadata": error.metadata}
    return {"@type": f"{_TYPES}.ErrorInfo", **info}


def _violations(error: ApiError) -> list[dict[str, Any]]:
    fields = error.fields if isinstance(error, InvalidArgument) else ()
    listed = [{"field": f.name or f.location, "description": f.message} for f in fields]
    return [{"@type": f"{_TYPES}.BadRequest", "fieldViolations": listed}] if listed else []

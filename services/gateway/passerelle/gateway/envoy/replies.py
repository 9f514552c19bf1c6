"""Envoy's own errors, in the form of the surface that was called.

Envoy picks the first mapper whose filter matches (`local_reply_config` of its HTTP connection manager). There is one
for the JSON of each surface, by its paths. For gRPC there is one in plain text: Envoy makes `grpc-message` of it,
and `grpc-status` of the HTTP status.
"""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from passerelle.runtime import errors
from passerelle.runtime.headers import REST
from passerelle.runtime.surface import Surface, surfaces

Json = dict[str, Any]

# Envoy's response flags (its manual of the access log lists them): too many requests to a service, auth refused the
# request, and every way in which a service breaks off or cannot be reached. A 503 without any of them is made by
# Envoy's overload manager.
_OVERFLOW = ("UO",)
_UNAUTHORIZED = ("UAEX",)
_BROKEN_OFF = ("UC", "UR")
_UPSTREAM = ("UH", "UF", "LR", "URX", "NC", "UPE")


@dataclass(frozen=True, slots=True)
class _Cause:
    """A reason for which Envoy answers instead of a service, and the error that clients get.

    `flags` are Envoy's response flags; with none, the status alone decides. `error.detail` may hold Envoy's format
    operators.
    """

    status: int
    error: errors.ApiError
    http: int | None = None
    flags: tuple[str, ...] = ()

    @property
    def answered(self) -> int:
        """The status that the client sees."""
        return self.http or self.status


class _MethodNotAllowed(errors.Unsupported):
    reason = "METHOD_NOT_ALLOWED"
    http = 405


class _BrokenOff(errors.BackendUnavailable):
    """A service broke off a call whose work it may have done. A client that just repeats it may do the work twice."""

    retry_after = None


_LOCAL_BODY = "%LOCAL_REPLY_BODY%"
_SERVICE = "The %UPSTREAM_CLUSTER% service"

_CAUSES = (
    _Cause(
        503, errors.BackendUnavailable("The auth service is not available."), flags=_UNAUTHORIZED
    ),
    _Cause(400, errors.InvalidArgument(f"The request cannot be read. {_LOCAL_BODY}")),
    _Cause(401, errors.Unauthenticated.without_token()),
    _Cause(403, errors.Forbidden("This gateway offers no upgrade to another protocol.")),
    _Cause(404, errors.NotFound("Not Found")),
    _Cause(405, _MethodNotAllowed("Method Not Allowed")),
    _Cause(408, errors.DeadlineExceeded("The request did not arrive in time.")),
    _Cause(413, errors.TooLarge("The request body is too large.")),
    _Cause(415, errors.InvalidArgument("gRPC methods take application/grpc.")),
    _Cause(421, errors.InvalidArgument("This gateway is not called by that name.")),
    _Cause(426, errors.InvalidArgument("HTTP/1.1 or HTTP/2 is required.")),
    _Cause(429, errors.Overloaded("Too many requests with no valid access token.")),
    _Cause(431, errors.InvalidArgument("The request headers, or the URL, are too large.")),
    _Cause(500, errors.ApiError("Internal error.")),
    _Cause(501, errors.Unsupported("Of transfer codings, only chunked is read.")),
    # These mean that the service is down: the body is too long to be sent again, or the peer speaks no HTTP/2.
    _Cause(502, errors.BackendUnavailable(f"{_SERVICE} is not available."), http=503),
    _Cause(507, errors.BackendUnavailable(f"{_SERVICE} is not available."), http=503),
    _Cause(503, errors.Overloaded(f"{_SERVICE} is busy."), http=429, flags=_OVERFLOW),
    _Cause(
        503,
        _BrokenOff(f"{_SERVICE} broke off; what was asked for may have been done."),
        flags=_BROKEN_OFF,
    ),
    _Cause(503, errors.BackendUnavailable(f"{_SERVICE} is not available."), flags=_UPSTREAM),
    _Cause(503, errors.BackendUnavailable("The gateway is overloaded.")),
    _Cause(504, errors.DeadlineExceeded(f"{_SERVICE} did not answer in time.")),
)


def local_replies() -> Json:
    """Envoy's `local_reply_config`."""
    no_auth, *others = _CAUSES
    mappers = [
        *_mappers(no_auth),
        _ANSWERED_BY_AUTH,
        *(mapper for cause in others for mapper in _mappers(cause)),
    ]
    return {"mappers": mappers}


def _mappers(cause: _Cause) -> Iterator[Json]:
    matches = [_status_is(cause.status), *([_flagged(cause.flags)] if cause.flags else [])]
    detail = cause.error.detail
    grpc = _mapper(cause, [*matches, *_GRPC], {"text_format_source": {"inline_string": detail}})
    yield {**grpc, "headers_to_add": [*grpc["headers_to_add"], *_grpc_details(cause.error)]}
    for surface in surfaces():
        paths = [] if surface.is_root else [_path_matches(surface.paths)]
        yield _of_surface(surface, cause, _mapper(cause, [*matches, *paths], _body(surface, cause)))


def _body(surface: Surface, cause: _Cause) -> Json:
    body = surface.body(surface.shown(cause.error), status=cause.answered, user=None)
    return {"json_format": body}


def _of_surface(surface: Surface, cause: _Cause, mapper: Json) -> Json:
    own = [header(*pair) for pair in surface.reply_headers.items()]
    return {**mapper, "headers_to_add": [*mapper["headers_to_add"], *own]}


def _mapper(cause: _Cause, matches: list[Json], body: Json) -> Json:
    return {
        "filter": matches[0] if len(matches) == 1 else {"and_filter": {"filters": matches}},
        "status_code": cause.answered,
        "body_format_override": body,
        "headers_to_add": [header(name, value) for name, value in cause.error.headers.items()],
    }


# The answer of auth, unchanged; see auth/envoy/authorization_service.py.
_ANSWERED_BY_AUTH = {
    "filter": {"response_flag_filter": {"flags": list(_UNAUTHORIZED)}},
    "body_format_override": {"text_format_source": {"inline_string": _LOCAL_BODY}},
}


def _grpc_details(error: errors.ApiError) -> Iterator[Json]:
    """The error's details for gRPC clients; a message in which Envoy fills in something cannot have any."""
    if "%" not in error.detail:
        details = b64encode(error.proto().SerializeToString()).decode().rstrip("=")
        yield header("grpc-status-details-bin", details)
        yield header("grpc-message", error.detail)


def header(name: str, value: str) -> Json:
    """A `HeaderValueOption` that sets a header, whether or not it is there."""
    return {
        "header": {"key": name, "value": value},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def _status_is(status: int) -> Json:
    # Envoy lets an operator override the number at run time under this key; we set none.
    value = {"default_value": status, "runtime_key": "passerelle.local_reply"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def _flagged(flags: tuple[str, ...]) -> Json:
    return {"response_flag_filter": {"flags": list(flags)}}


def _path_matches(regex: str) -> Json:
    matcher = {"name": ":path", "string_match": {"safe_regex": {"regex": regex}}}
    return {"header_filter": {"header": matcher}}


# A transcoded request looks like gRPC too, once it is past the transcoder; the Lua filter has marked it.
_GRPC = (
    {
        "header_filter": {
            "header": {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
        }
    },
    {"header_filter": {"header": {"name": REST, "present_match": False}}},
)

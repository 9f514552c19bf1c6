"""Every error a caller may see, with the gRPC code, reason and HTTP status it travels as.

ApiError                  INTERNAL             500
├── InvalidArgument       INVALID_ARGUMENT     400  names the fields that are wrong
├── FailedPrecondition    FAILED_PRECONDITION  400  the request is well-formed, but the system is not in a state for it
├── Unauthenticated       UNAUTHENTICATED      401
├── Forbidden             PERMISSION_DENIED    403
├── NotFound              NOT_FOUND            404
├── AlreadyExists         ALREADY_EXISTS       409
├── TooLarge              OUT_OF_RANGE         413
├── Overloaded            RESOURCE_EXHAUSTED   429  carries Retry-After
│   └── RateLimited       RESOURCE_EXHAUSTED   429  and how many calls there may be
├── Unsupported           UNIMPLEMENTED        501
├── BackendError          UNKNOWN              502  a system answered, but with a failure
├── BackendUnavailable    UNAVAILABLE          503
│   └── ConnectionFailed  UNAVAILABLE          503  no SSH connection to the system
└── DeadlineExceeded      DEADLINE_EXCEEDED    504

Codes follow google.rpc.Code; the JSON form is AIP-193's.

A domain has further errors, in its own folder. One is three lines in a class: `code`, `reason`, `http`. A class that
states a reason is registered by it, so that it is the same class again when another service answered with it
(`from_rpc`). A class without one is for the service's own handlers: it travels as its base does.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from passerelle.runtime.headers import CHALLENGE, HTTP_STATUS, RATE_POLICY, RETRY_AFTER

DOMAIN = "passerelle.dev"

M = TypeVar("M", bound=Message)

# Of google.rpc.Code (google/rpc/code.proto), as HTTP statuses: those of errors that say no other.
_HTTP = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}
_WIRE_FORM = ("code", "reason", "http")
_registered: "dict[str, type[ApiError]]" = {}

# Characters. A JSON body travels in one header, where each may take six bytes, and Envoy takes 60 KiB of headers;
# gRPC clients take 8 KiB of metadata, in which a message stands twice.
_MAX_DETAIL = 6000
_MAX_GRPC_DETAIL = 1000


def shortened(text: str, limit: int) -> str:
    """`text` in at most `limit` characters: the middle goes, because systems say what is wrong at the end."""
    half = (limit - 1) // 2
    return text if len(text) <= limit else f"{text[:half]}…{text[-half:]}"


@dataclass(frozen=True)
class Field:
    """One field of a request that is wrong.

    `location` is `body`, `query` or `path`; `name` is the field's name as callers write it, or None for the whole.
    """

    location: str
    name: str | None
    message: str


class ApiError(Exception):
    """Base of every error shown to callers; `detail` is safe to show, `metadata` too.

    `code` is its gRPC status, `http` its HTTP status, `reason` a word for programs, unique to its class.
    """

    code: grpc.StatusCode = grpc.StatusCode.INTERNAL
    reason: str = "INTERNAL"
    http: int = 500
    retry_after: int | None = None
    """Seconds after which trying again makes sense; None where it does not."""
    challenge: str | None = None
    """The value of HTTP's `WWW-Authenticate` (RFC 6750 §3); None for errors that another token would not avoid."""

    def __init_subclass__(cls) -> None:
        """Register a class that states a reason. Raises TypeError for a reason that is taken, or an incomplete form."""
        super().__init_subclass__()
        stated = [name for name in _WIRE_FORM if name in vars(cls)]
        if stated and "reason" not in stated:
            raise TypeError(f"{cls.__qualname__} states {stated[0]} and no reason of its own")
        if stated and _registered.setdefault(cls.reason, cls) is not cls:
            taken = _registered[cls.reason].__qualname__
            raise TypeError(f"{cls.__qualname__}: the reason {cls.reason} is that of {taken}")

    def __init__(self, detail: str, **metadata: str) -> None:
        super().__init__(detail)
        self.detail = shortened(detail, _MAX_DETAIL)
        self.metadata = {key: shortened(value, _MAX_GRPC_DETAIL) for key, value in metadata.items()}

    def extended(self, words: str) -> Self:
        """This error, with the sentences `words` added to its message."""
        self.detail = shortened(f"{self.detail.rstrip('.')}. {words}", _MAX_DETAIL)
        self.args = (self.detail,)
        return self

    def travelling_as(self, kind: "ApiError | type[ApiError]") -> Self:
        """This error, with the code, reason and HTTP status of another error or class."""
        self.code, self.reason, self.http = kind.code, kind.reason, kind.http
        return self

    @classmethod
    def received(cls, status: status_pb2.Status, trailers: Mapping[str, str]) -> Self:
        """The error that another service answered with, from its status and trailers.

        The constructor is not called, since its arguments are not sent.
        """
        error = cls.__new__(cls)
        info = next(_details(status, error_details_pb2.ErrorInfo))
        ApiError.__init__(error, status.message, **info.metadata)
        error.reason = info.reason
        retry_after = trailers.get(RETRY_AFTER)
        error.retry_after = int(retry_after) if retry_after is not None else None
        error.challenge = trailers.get(CHALLENGE)
        return error

    @property
    def headers(self) -> dict[str, str]:
        """The HTTP headers of its answer, which are trailers over gRPC."""
        headers = {RETRY_AFTER: self.retry_after, CHALLENGE: self.challenge}
        return {name: str(value) for name, value in headers.items() if value is not None}

    @property
    def trailers(self) -> tuple[tuple[str, Any], ...]:
        """The trailers of its gRPC answer: the Status, the headers, the HTTP status."""
        trailers = {**self.headers, HTTP_STATUS: str(self.http)}
        return (*(self.status().trailing_metadata or ()), *trailers.items())

    def proto(self) -> status_pb2.Status:
        """The `google.rpc.Status`: canonical code, message, and a machine-readable ErrorInfo."""
        info = error_details_pb2.ErrorInfo(
            reason=self.reason, domain=DOMAIN, metadata=self.metadata
        )
        packed = [_pack(info), *(_pack(detail) for detail in self._details())]
        message = shortened(self.detail, _MAX_GRPC_DETAIL)
        return status_pb2.Status(code=self.code.value[0], message=message, details=packed)

    def status(self) -> grpc.Status:
        """The same, as grpc.aio's `abort_with_status` wants it."""
        return rpc_status.to_status(self.proto())

    def _details(self) -> list[Any]:
        return []


_registered[ApiError.reason] = ApiError


class InvalidArgument(ApiError):
    """The request is wrong; `fields` says where."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"
    http = 400
    fields: tuple[Field, ...] = ()

    def __init__(self, detail: str, fields: tuple[Field, ...] = (), **metadata: str) -> None:
        super().__init__(detail, **metadata)
        self.fields = fields

    @classmethod
    def received(cls, status: status_pb2.Status, trailers: Mapping[str, str]) -> Self:
        """As the base, with the fields."""
        error = super().received(status, trailers)
        violations = (
            violation
            for request in _details(status, error_details_pb2.BadRequest)
            for violation in request.field_violations
        )
        error.fields = tuple(map(_field, violations))
        return error

    def _details(self) -> list[Any]:
        violation = error_details_pb2.BadRequest.FieldViolation
        violations = [
            violation(
                field=f.name or f.location,
                description=f.message,
                reason=f"{_INVALID}{f.location.upper()}",
            )
            for f in self.fields
        ]
        return [error_details_pb2.BadRequest(field_violations=violations)] if violations else []


_INVALID = "INVALID_"
"""How the reason of a field's violation begins: `INVALID_BODY`, `INVALID_QUERY` or `INVALID_PATH`."""


def _field(violation: error_details_pb2.BadRequest.FieldViolation) -> Field:
    location = violation.reason.removeprefix(_INVALID).lower()
    name = violation.field if violation.field != location else None
    return Field(location, name, violation.description)


class FailedPrecondition(ApiError):
    """The request is well-formed, but what it names is not in a state for it."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "FAILED_PRECONDITION"
    http = 400


class Unauthenticated(ApiError):
    """No access token, or one that is not valid."""

    code = grpc.StatusCode.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"
    http = 401
    challenge = 'Bearer error="invalid_token"'

    @classmethod
    def without_token(cls) -> Self:
        """For a request that shows no bearer token: RFC 6750 §3.1 wants no error code then."""
        error = cls("Not authenticated")
        error.challenge = "Bearer"
        return error


class Forbidden(ApiError):
    """The caller is known, but may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "FORBIDDEN"
    http = 403

    def __init__(self, detail: str, **metadata: str) -> None:
        super().__init__(detail, **metadata)
        if scope := metadata.get("scope"):  # the token lacks it
            self.challenge = f'Bearer error="insufficient_scope", scope="{scope}"'


class NotFound(ApiError):
    """What the request names does not exist."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "NOT_FOUND"
    http = 404


class AlreadyExists(ApiError):
    """What the request would create exists already."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "ALREADY_EXISTS"
    http = 409


class TooLarge(ApiError):
    """More bytes than this method moves."""

    code = grpc.StatusCode.OUT_OF_RANGE
    reason = "TOO_LARGE"
    http = 413


class Overloaded(ApiError):
    """A bounded queue is full; nothing was done."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "OVERLOADED"
    http = 429
    retry_after = 1


class RateLimited(Overloaded):
    """More calls than one user, or one OAuth client, may make.

    Its headers are those of draft-ietf-httpapi-ratelimit-headers: `RateLimit` with `RateLimit-Policy` of its later
    versions, `RateLimit-Reset` of the earlier ones, which older clients read.
    """

    reason = "RATE_LIMITED"
    policy: tuple[str, int] | None = None
    """Whose calls are limited, `user` or `client`, and to how many a second."""

    @classmethod
    def received(cls, status: status_pb2.Status, trailers: Mapping[str, str]) -> Self:
        """As the base, with the policy."""
        error = super().received(status, trailers)
        if match := _POLICY.fullmatch(trailers.get(RATE_POLICY, "")):
            error.policy = match[1], int(match[2])
        return error

    @property
    def headers(self) -> dict[str, str]:
        """As the base, with the limit."""
        if self.policy is None:
            return super().headers
        of, most = self.policy
        return super().headers | {
            RATE_POLICY: f'"{of}";q={most};w=1',
            "ratelimit": f'"{of}";r=0;t={self.retry_after}',
            "ratelimit-reset": str(self.retry_after),
        }


_POLICY = re.compile(r'"(\w+)";q=(\d+);w=1')


class Unsupported(ApiError):
    """The system behind cannot do this."""

    code = grpc.StatusCode.UNIMPLEMENTED
    reason = "UNSUPPORTED_BY_BACKEND"
    http = 501


class BackendError(ApiError):
    """A system answered, but with a failure; the detail carries its own words."""

    code = grpc.StatusCode.UNKNOWN
    reason = "BACKEND_ERROR"
    http = 502


class BackendUnavailable(ApiError):
    """A system or service cannot be reached now."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "BACKEND_UNAVAILABLE"
    http = 503
    retry_after: int | None = 5


class ConnectionFailed(BackendUnavailable):
    """No SSH connection to the system could be opened, or it was lost."""

    reason = "CONNECTION_FAILED"


class DeadlineExceeded(ApiError):
    """It took longer than allowed; what was running was stopped."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"
    http = 504


# The most general class of each code, which is defined first: for reasons that this process has no class for.
_OF_CODE = {kind.code: kind for kind in reversed(_registered.values())}


def registered() -> Mapping[str, type[ApiError]]:
    """The classes of all errors that this process has imported, by their reasons."""
    return MappingProxyType(_registered)


def unnamed(code: grpc.StatusCode, detail: str) -> ApiError:
    """The error of a gRPC status that says nothing but its code."""
    error = ApiError(detail)
    error.code, error.reason, error.http = code, code.name, _HTTP.get(code, 500)
    return error


def from_rpc(error: grpc.aio.AioRpcError, service: str) -> ApiError:
    """The error that another of our services answered with, to be raised again; `service` names it for people."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # it reads code, details and trailers only
    info = next(_details(status, error_details_pb2.ErrorInfo), None) if status else None
    if info is None:
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"The {service} service did not answer in time.")
        return BackendUnavailable(f"The {service} service cannot be reached.")
    metadata: Any = error.trailing_metadata()
    trailers = {key: value for key, value in metadata or () if isinstance(value, str)}
    if kind := _registered.get(info.reason):
        return kind.received(status, trailers)
    unknown = _OF_CODE.get(error.code(), ApiError).received(status, trailers)
    unknown.code = error.code()
    unknown.http = int(trailers.get(HTTP_STATUS, _HTTP.get(unknown.code, 500)))
    return unknown


def _details(status: status_pb2.Status, kind: type[M]) -> Iterator[M]:
    """The details of a status that are of one kind."""
    for packed in status.details:
        detail = kind()
        if packed.Unpack(detail):
            yield detail


def _pack(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed

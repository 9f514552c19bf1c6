"""Envoy's `ext_authz`: judges requests whose token Envoy did not verify itself, before it forwards anything of them.

A refusal looks as the services of the called surface would answer it.
"""

import math
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
from google.rpc import status_pb2
from prometheus_client import Counter

from passerelle.auth.envoy.rejected_requests import RejectedRequests
from passerelle.auth.tokens.validation import Tokens
from passerelle.edge import external_auth_pb2 as pb
from passerelle.edge import external_auth_pb2_grpc as pb_grpc
from passerelle.runtime import caller
from passerelle.runtime.errors import ApiError, Forbidden, Overloaded, Unauthenticated
from passerelle.runtime.headers import CLIENT_ADDRESS, REQUEST_ID, REST
from passerelle.runtime.pipeline.stages import bearer
from passerelle.runtime.surface import surfaces
from passerelle.runtime.token_buckets import Buckets

LIMITED = Counter(
    "passerelle_door_limited_total",
    "Requests answered 429, because their address sent too many without a valid token.",
)

_Http = pb.AttributeContext.HttpRequest
_REPLACE = 2  # envoy.config.core.v3.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


class AuthorizationService(pb_grpc.AuthorizationServicer):
    """Whether a request carries a valid token. What its caller may do is decided by the service that it is for."""

    def __init__(self, tokens: Tokens, failures: Buckets, rejected: RejectedRequests) -> None:
        self._tokens = tokens
        self._failures = failures
        self._rejected = rejected

    async def Check(self, request: pb.CheckRequest, context: Any) -> pb.CheckResponse:
        """Accept the request, or return the answer for the client."""
        http = request.attributes.request.http
        caller.begin_request(http.headers.get(REQUEST_ID, ""))
        address = str(dict(context.invocation_metadata()).get(CLIENT_ADDRESS, ""))
        try:
            principal = await self._tokens.principal(bearer(http.headers))
            if not principal.limits.allow_address(address):
                raise Forbidden(f"This API key may not be used from {address}.")
        except ApiError as error:
            answer = self._limited(error, address)
            self._write(answer, http, address)
            return _denied(answer, http)
        return pb.CheckResponse(status=status_pb2.Status())

    def _limited(self, error: ApiError, address: str) -> ApiError:
        """The error to answer with: Overloaded for an address that sends too many requests without a valid token."""
        seconds = self._failures.take(address) if isinstance(error, Unauthenticated) else 0
        if not seconds:
            return error
        LIMITED.inc()
        busy = Overloaded("Too many requests with no valid access token; try again later.")
        busy.retry_after = math.ceil(seconds)
        return busy

    def _write(self, error: ApiError, http: _Http, address: str) -> None:
        path = http.path.partition("?")[0]
        method = path if _is_grpc(http.headers) else f"{http.method} {path}"
        request_id = http.headers.get(REQUEST_ID, "")
        self._rejected.write(method=method, request_id=request_id, address=address, error=error)


def _denied(error: ApiError, http: _Http) -> pb.CheckResponse:
    surface = surfaces().of_path(http.path)
    shown = surface.shown(error)
    answer = surface.answer(shown, user=None)
    body, headers = answer.text, {"content-type": "application/json"}
    if _is_grpc(http.headers):
        body, headers = shown.detail, dict(_grpc_status(shown))
    headers |= shown.headers
    denied = pb.DeniedHttpResponse(
        status=pb.HttpStatus(code=answer.status),
        headers=[
            pb.HeaderValueOption(
                header=pb.HeaderValue(key=key, value=value), append_action=_REPLACE
            )
            for key, value in headers.items()
        ],
        body=body,
    )
    return pb.CheckResponse(
        status=status_pb2.Status(code=grpc.StatusCode.PERMISSION_DENIED.value[0]),
        denied_response=denied,
    )


def _is_grpc(headers: Mapping[str, str]) -> bool:
    kind = headers.get("content-type", "")
    return kind.startswith("application/grpc") and REST not in headers


def _grpc_status(error: ApiError) -> Iterator[tuple[str, str]]:
    """The status in header fields (gRPC over HTTP/2, `Trailers-Only`); Envoy makes `grpc-message` of the body."""
    status = error.proto()
    yield "grpc-status", str(status.code)
    details = b64encode(status.SerializeToString()).decode().rstrip("=")
    yield "grpc-status-details-bin", details

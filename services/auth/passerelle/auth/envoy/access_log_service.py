"""Envoy's access log service: takes the requests that Envoy rejected itself (gateway/envoy/authentication.py)."""

from collections.abc import Mapping
from typing import Any

from passerelle.auth.envoy.rejected_requests import RejectedRequests
from passerelle.edge import access_log_pb2 as pb
from passerelle.edge import access_log_pb2_grpc as pb_grpc
from passerelle.runtime.errors import (
    ApiError,
    Forbidden,
    Overloaded,
    TooLarge,
    Unauthenticated,
)

# By the HTTP status, or by the gRPC status that Envoy makes of it: of 429 it makes UNAVAILABLE.
_ERRORS: Mapping[int, type[ApiError]] = {
    401: Unauthenticated,
    403: Forbidden,
    413: TooLarge,
    429: Overloaded,
}
_GRPC_ERRORS: Mapping[str, type[ApiError]] = {
    "16": Unauthenticated,
    "7": Forbidden,
    "8": Overloaded,
    "14": Overloaded,
}


class AccessLogService(pb_grpc.AccessLogServiceServicer):
    """Writes these requests into the audit log."""

    def __init__(self, rejected: RejectedRequests) -> None:
        self._rejected = rejected

    async def StreamAccessLogs(self, requests: Any, context: Any) -> pb.StreamAccessLogsResponse:
        """Write a line for each entry, until Envoy ends the stream."""
        async for message in requests:
            for entry in message.http_logs.log_entry:
                self._write(entry)
        return pb.StreamAccessLogsResponse()

    def _write(self, entry: pb.HTTPAccessLogEntry) -> None:
        request, response = entry.request, entry.response
        grpc_status = response.response_headers.get("grpc-status", "")
        error = _GRPC_ERRORS.get(grpc_status) or _ERRORS.get(response.response_code.value)
        if error is None:
            return
        path = (request.original_path or request.path).partition("?")[0]
        verb = pb.RequestMethod.Name(request.request_method)
        self._rejected.write(
            method=path if grpc_status else f"{verb} {path}",
            request_id=request.request_id,
            address=entry.common_properties.downstream_remote_address.socket_address.address,
            error=error,
        )

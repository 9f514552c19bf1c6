"""The audit log: one line for each call that changes something or is refused, never sampled.

Which calls change something stands in the contract (`Access.effect`). What they are about is what their requests name
(`named_fields`); handlers add by `log_fields.bind` and `note` what only they find out.
"""

import logging
import os
from collections.abc import Mapping
from functools import partial
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from typing import Any

import grpc

from passerelle.runtime.headers import CLIENT_ADDRESS
from passerelle.runtime.pipeline.named_fields import as_text
from passerelle.runtime.pipeline.rpc import Rpc

log = logging.getLogger("passerelle.audit")

_REFUSED = {
    grpc.StatusCode.UNAUTHENTICATED.name,
    grpc.StatusCode.PERMISSION_DENIED.name,
    grpc.StatusCode.RESOURCE_EXHAUSTED.name,
}
# Bytes; a line is shorter and so written at once, whoever else writes to the file.
_BUFFER = 64 << 10


def write(rpc: Rpc, outcome: str) -> None:
    """Write the line of a call that has ended, if it is one to be written; `outcome` names the gRPC status."""
    refused = outcome in _REFUSED and not rpc.trusted
    if not rpc.method.access.changes and not refused:
        return
    fields = {
        "address": rpc.metadata.get(CLIENT_ADDRESS) or rpc.context.peer(),
        "method": rpc.method.name,
        **rpc.fields.logged,
        **rpc.fields.audited,
        "outcome": outcome,
        "reason": rpc.error and rpc.error.reason,
    }
    _append(fields)


def write_turned_away(
    *, method: str, request_id: str, address: str, outcome: str, reason: str
) -> None:
    """Write the line of a request that goes no further than Envoy; `method` is its verb and path, or the gRPC path."""
    fields = {
        "request_id": request_id,
        "address": address,
        "method": method,
        "outcome": outcome,
        "reason": reason,
    }
    _append(fields)


def write_left_out(*, address: str, count: int) -> None:
    """Write that of the requests from `address` which went no further than Envoy, `count` have no line of their own."""
    _append({"address": address, "left_out": str(count)})


def _append(fields: Mapping[str, Any]) -> None:
    log.info("call", extra={name: as_text(value) for name, value in fields.items() if value})


class AuditFile(WatchedFileHandler):
    """Appends lines to a file that several processes may share; opens it again when it was moved away."""

    def _open(self) -> TextIOWrapper:
        private: Any = partial(os.open, mode=0o600)
        return open(self.baseFilename, "a", _BUFFER, encoding="utf-8", opener=private)

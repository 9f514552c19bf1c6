"""The audit log: one line for each call that changes something or is refused, never sampled.

Which calls change something stands in the contract (`Access.effect`). What they are about is read from the request's
fields, by their names; handlers add by `log_fields.bind` and `note` what only they find out.
"""

import logging
import os
from collections.abc import Mapping
from functools import cache, partial
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from typing import Any

import grpc
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from passerelle.runtime import log_fields
from passerelle.runtime.errors import shortened
from passerelle.runtime.headers import CLIENT_ADDRESS
from passerelle.runtime.pipeline.interceptors import Rpc
from passerelle.runtime.surface import Surface
from passerelle.v1.access_pb2 import Access

log = logging.getLogger("passerelle.audit")

_REFUSED = {
    grpc.StatusCode.UNAUTHENTICATED.name,
    grpc.StatusCode.PERMISSION_DENIED.name,
    grpc.StatusCode.RESOURCE_EXHAUSTED.name,
}
_MAX_VALUE = 512  # characters
# Bytes; a line is shorter and so written at once, whoever else writes to the file.
_BUFFER = 64 << 10

_FIELDS = ("system", "job_id", "upload_id", "path", "target_system", "target")
"""The request fields that say what a call is about. A path in bytes, as `raw_path`, stands for the one in text."""

_LOGGED = {"system", "target_system", "job_id", "upload_id"}
"""Those of them that other logs tell as well: not paths, which only the audit log is careful with."""


def bind_named(request: Message, surface: Surface) -> None:
    """Let the current call's lines carry what its request names, each as far as it is set and they may tell it."""
    named = about(request, surface)
    log_fields.bind(**{name: value for name, value in named.items() if name in _LOGGED})
    log_fields.note(**{name: value for name, value in named.items() if name not in _LOGGED})


def about(request: Message, surface: Surface) -> dict[str, str]:
    """What a request names, as far as it is set: system, job, upload, paths; and what its surface adds."""
    fields = {}
    for name, field in _named(request.DESCRIPTOR):
        if value := getattr(request, field):
            fields[name] = _text(value)
    return {**fields, **surface.about(request)}


@cache
def _named(kind: Descriptor) -> tuple[tuple[str, str], ...]:
    """The fields of `_FIELDS` that a kind of request has, each with the name it is shown by."""
    pairs = [pair for name in _FIELDS for pair in ((name, name), (name, f"raw_{name}"))]
    return tuple(pair for pair in pairs if pair[1] in kind.fields_by_name)


def _text(value: str | bytes) -> str:
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
    return shortened(text, _MAX_VALUE)


def write(rpc: Rpc, outcome: str) -> None:
    """Write the line of a call that has ended, if it is one to be written; `outcome` names the gRPC status."""
    refused = outcome in _REFUSED and not rpc.trusted
    if rpc.access.effect != Access.CHANGES and not refused:
        return
    said = {
        "address": rpc.metadata.get(CLIENT_ADDRESS) or rpc.context.peer(),
        "method": rpc.method,
        **rpc.fields.logged,
        **rpc.fields.audited,
        "outcome": outcome,
        "reason": rpc.error and rpc.error.reason,
    }
    _append(said)


def write_turned_away(
    *, method: str, request_id: str, address: str, outcome: str, reason: str
) -> None:
    """Write the line of a request that goes no further than Envoy; `method` is its verb and path, or the gRPC path."""
    said = {
        "request_id": request_id,
        "address": address,
        "method": method,
        "outcome": outcome,
        "reason": reason,
    }
    _append(said)


def write_left_out(*, address: str, count: int) -> None:
    """Write that of the requests from `address` which went no further than Envoy, `count` have no line of their own."""
    _append({"address": address, "left_out": str(count)})


def _append(said: Mapping[str, Any]) -> None:
    log.info("call", extra={name: _text(value) for name, value in said.items() if value})


class AuditFile(WatchedFileHandler):
    """Appends lines to a file that several processes may share; opens it again when it was moved away."""

    def _open(self) -> TextIOWrapper:
        private: Any = partial(os.open, mode=0o600)
        return open(self.baseFilename, "a", _BUFFER, encoding="utf-8", opener=private)

"""Logs as JSON lines with the request id."""

import logging
import sys
from pathlib import Path

from pythonjsonlogger.json import JsonFormatter

from passerelle.runtime import caller
from passerelle.runtime.pipeline import audit


class _WithRequest(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if request_id := caller.request_id():
            record.request_id = request_id
        if known := caller.known():
            record.user = known.username
        return True


def _shows_no_header(record: logging.LogRecord) -> bool:
    """False for what grpc (1.85) says of a header that is not UTF-8: it shows all of it, which may be a token."""
    return not str(record.msg).startswith("Invalid encoding on")


def configure_logging(service: str, level: str = "INFO", audit_log: Path | None = None) -> None:
    """Send all logs to stderr, one JSON object a line: time, level, service, logger, message, request_id, user.

    Lines of the audit log go to the file `audit_log` alone, if there is one; raises OSError when it cannot be written.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_WithRequest())
    handler.setFormatter(_json("{asctime}{levelname}{name}{message}", service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    logging.getLogger("grpc._cython.cygrpc").addFilter(_shows_no_header)
    audit.log.setLevel(logging.INFO)  # never less, whatever the others say
    if audit_log:
        file = audit.AuditFile(audit_log)
        file.setFormatter(_json("{asctime}", service))
        audit.log.addHandler(file)
        audit.log.propagate = False


def _json(fields: str, service: str) -> JsonFormatter:
    return JsonFormatter(
        fields,
        style="{",
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        static_fields={"service": service},
        datefmt="%Y-%m-%dT%H:%M:%S%z",
    )

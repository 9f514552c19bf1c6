"""Logs as JSON lines with the request id, and Prometheus metrics."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram, start_http_server
from pythonjsonlogger.json import JsonFormatter

from passerelle.runtime import audit, caller

REQUESTS = Counter("passerelle_rpc_total", "RPCs answered.", ["method", "code"])
OPEN = Gauge("passerelle_rpc_open", "RPCs being served now.", ["method"])
SECONDS = Histogram(
    "passerelle_rpc_seconds",
    "Time from a request to the end of its answer.",
    ["method"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60),
)


class _WithRequest(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if request_id := caller.request_id():
            record.request_id = request_id
        if known := caller.known():
            record.user = known.username
        return True


def configure_logging(service: str, level: str = "INFO", audit_log: Path | None = None) -> None:
    """Send all logs to stderr, one JSON object a line: time, level, service, logger, message, request_id, user.

    Lines of the audit log go to the file `audit_log` alone, if there is one; raises OSError when it cannot be written.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_WithRequest())
    handler.setFormatter(_json("{asctime}{levelname}{name}{message}", service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
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


@contextmanager
def serving_metrics(address: str | None) -> Iterator[None]:
    """Serve `/metrics` on `host:port` inside the block; nothing when `address` is None."""
    if address is None:
        yield
        return
    host, _, port = address.rpartition(":")
    server, thread = start_http_server(int(port), addr=host)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

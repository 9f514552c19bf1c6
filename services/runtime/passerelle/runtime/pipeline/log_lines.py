"""All logs as JSON lines, those of libraries too; with the fields of the call in which they are logged."""

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

from structlog.processors import JSONRenderer
from structlog.stdlib import ExtraAdder, ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from passerelle.runtime import log_fields
from passerelle.runtime.pipeline import audit

_TRACEBACKS = logging.Formatter()


def _shows_no_header(record: logging.LogRecord) -> bool:
    """False for what grpc (1.85) says of a header that is not UTF-8: it shows all of it, which may be a token."""
    return not str(record.msg).startswith("Invalid encoding on")


def configure_logging(service: str, level: str = "INFO", audit_log: Path | None = None) -> None:
    """Send all logs to stderr, one JSON object a line: time, level, logger, message, service, then other fields.

    These are the ones of the call, and what the line itself brings as `extra`; see docs/operating.md. Lines of the
    audit log go to the file `audit_log` alone, if there is one; raises OSError when it cannot be written.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(log_line(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    logging.getLogger("grpc._cython.cygrpc").addFilter(_shows_no_header)
    audit.log.setLevel(logging.INFO)  # never less, whatever the others say
    if audit_log:
        file = audit.AuditFile(audit_log)
        file.setFormatter(_json(service, _time))
        audit.log.addHandler(file)
        audit.log.propagate = False


def log_line(service: str) -> logging.Formatter:
    """What makes a line of a record of `service`: JSON, without a line break, in ASCII."""
    return _json(service, _time_and_message)


def _json(
    service: str, usual: Callable[[logging.LogRecord, str], dict[str, str]]
) -> ProcessorFormatter:
    """Lines of `service` that begin with the `usual` fields of a record and its message."""

    def begin(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        message = event.pop("event")  # structlog's name for it
        fields = {**usual(event["_record"], message), "service": service}
        return {**fields, **log_fields.logged(), **event}

    collect: list[Processor] = [begin, ExtraAdder(), _with_traceback]
    render: list[Processor] = [ProcessorFormatter.remove_processors_meta, JSONRenderer()]
    return ProcessorFormatter(foreign_pre_chain=collect, processors=render)


def _time(record: logging.LogRecord, _: str) -> dict[str, str]:
    return {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(record.created))}


def _time_and_message(record: logging.LogRecord, message: str) -> dict[str, str]:
    said = {"level": record.levelname, "logger": record.name, "message": message}
    return _time(record, message) | said


def _with_traceback(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if "exc_info" in event:
        event["exc_info"] = _TRACEBACKS.formatException(event["exc_info"])
    return event

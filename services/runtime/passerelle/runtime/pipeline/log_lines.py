"""All logs as JSON lines, those of libraries too; with the fields of the call in which they are logged.

A formatter of logging's own, not structlog: its `contextvars` bind fields to a task, where ours belong to a call
(`log_fields`).
"""

import json
import logging
import sys
import time
from functools import lru_cache
from pathlib import Path

import orjson

from passerelle.runtime import log_fields
from passerelle.runtime.pipeline import audit

_ENCODER = json.JSONEncoder(default=str, separators=(",", ":"))
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; all else is what its line brings as `extra`."""


def _shows_no_header(record: logging.LogRecord) -> bool:
    """False for what grpc (1.85) says of a header that is not UTF-8: it shows all of it, which may be a token."""
    return not str(record.msg).startswith("Invalid encoding on")


def configure_logging(service: str, level: str = "INFO", audit_log: Path | None = None) -> None:
    """Send all logs to stderr, one JSON object a line: time, level, logger, message, service, then other fields.

    These are the ones of the call, and what the line itself brings as `extra`; see docs/operating.md. Lines of the
    audit log go to the file `audit_log` alone, if there is one; raises OSError when it cannot be written.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLine(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Lines do not show these, and they are looked up for each (logging's HOWTO, "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # the place in the code that logs
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    logging.getLogger("grpc._cython.cygrpc").addFilter(_shows_no_header)
    audit.log.setLevel(logging.INFO)  # never less, whatever the others say
    if audit_log:
        file = audit.AuditFile(audit_log)
        file.setFormatter(JsonLine(service, with_message=False))
        audit.log.addHandler(file)
        audit.log.propagate = False


class JsonLine(logging.Formatter):
    """Formats a record of `service` as one line of JSON, in ASCII.

    Without `with_message` it has no level, logger and message, which are the same in all lines of the audit log.
    """

    def __init__(self, service: str, *, with_message: bool = True) -> None:
        super().__init__()
        self._service = service
        self._with_message = with_message

    def format(self, record: logging.LogRecord) -> str:
        """See the class."""
        line: dict[str, object] = {"time": _shown(int(record.created))}
        if self._with_message:
            line["level"] = record.levelname
            line["logger"] = record.name
            line["message"] = record.getMessage()
        line["service"] = self._service
        line.update(log_fields.logged())
        line |= {name: value for name, value in vars(record).items() if name not in _OWN}
        if record.exc_info:
            line["exc_info"] = self.formatException(record.exc_info)
        return _json(line)


def _json(line: dict[str, object]) -> str:
    """In ASCII. orjson takes a tenth of the time of json, but leaves what is not ASCII as it is."""
    try:
        text = orjson.dumps(line, default=str)
    except orjson.JSONEncodeError:  # half a surrogate pair, or a number of more than 64 bits
        return _ENCODER.encode(line)
    return text.decode() if text.isascii() else _ENCODER.encode(line)


@lru_cache(maxsize=1)
def _shown(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(second))

"""What the programs of transfer jobs share: their parameters, the signals that end them, and their log.

Runs on the system, on Python 3.6 and newer.
"""

import errno
import json
import os
import signal
import sys
import time
from contextlib import suppress

from passerelle.storage.remote.boundary import Boundary
from passerelle.storage.remote.outcome import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, TextIO


class Stopped(BaseException):
    """The scheduler ends the job, because it was cancelled or its time is over."""


def read_parameters() -> "dict[str, Any]":
    """The job's parameters: the third line of the file that is the program's argument (see private_files.py).

    After this call, the first SIGTERM or SIGINT raises Stopped. The file exists until `remove_parameters`: if the job
    fails before, the file says what has to be removed; and a job whose node failed can be started again. Ends the job
    when there is no such file.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        with open(sys.argv[1], "rb") as file:
            return dict(json.loads(file.read().split(b"\n", 2)[2].decode()))
    except FileNotFoundError:
        fail("The parameters of this transfer are gone: it ran before, or was given up.")


def remove_parameters() -> None:
    """Remove the file of the parameters, because the transfer has left nothing that has to be removed."""
    with suppress(FileNotFoundError):
        os.unlink(sys.argv[1])


def ignore_signals() -> None:
    """Ignore further SIGTERM and SIGINT, so that the job can end in order."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _stop(_number: int, _frame: "Any") -> None:
    ignore_signals()
    raise Stopped


def boundary(parameters: "dict[str, Any]") -> Boundary:
    """The filesystems in which the job's paths must lie, by its parameter `roots`."""
    return Boundary([encoded(root) for root in parameters["roots"]])


def encoded(path: str) -> bytes:
    """The bytes of a path. The job's locale is not used, since Python 3.6 takes an unset one for ASCII."""
    return path.encode("utf-8", "surrogateescape")


def refusal(path: str, error: "Failure | OSError") -> str:
    """A message for the log: why a system call on the transfer's file `path` failed."""
    if isinstance(error, OSError):
        return "%s: %s" % (path, error.strerror or error)  # noqa: UP031
    if error.code == errno.EXDEV:
        return "%s leads out of the filesystems of this system" % path  # noqa: UP031
    return "%s: %s" % (path, error.words)  # noqa: UP031


def log(text: str) -> None:
    """Print a line with the date to the job's log."""
    _print(text, sys.stdout)


def fail(text: str) -> "NoReturn":
    """Print a line with the date to the job's error log, and end the job with exit status 1."""
    _print(text, sys.stderr)
    sys.exit(1)


def _print(text: str, stream: "TextIO") -> None:
    date = time.strftime("%a %b %d %H:%M:%S UTC %Y", time.gmtime())
    line = "%s %s\n" % (date, text)  # noqa: UP031  # as `date -u` prints it
    # Names that the encoding of the log lacks must not end the job.
    stream.buffer.write(line.encode("utf-8", "backslashreplace"))
    stream.flush()

"""What the programs of transfer jobs share: their parameters, how they are ended, and what they say.

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
    """The scheduler wants the job to end: cancelled, or out of time."""


def parameters() -> "dict[str, Any]":
    """What the job was sent with: the third line of the file that is the program's argument (see private_files.py).

    From here on the scheduler's wish to end the job raises Stopped, once. The file stays until `nothing_is_left`:
    whatever becomes of the job before, the file tells what there is to tidy up; and a job whose node was lost can be
    started again. Ends the job when the file is gone.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        with open(sys.argv[1], "rb") as file:
            return dict(json.loads(file.read().split(b"\n", 2)[2].decode()))
    except FileNotFoundError:
        fail("The parameters of this transfer are gone: it ran before, or was given up.")


def nothing_is_left() -> None:
    """Remove the parameters: there is nothing more to tidy up."""
    with suppress(FileNotFoundError):
        os.unlink(sys.argv[1])


def stop_listening() -> None:
    """From here on the job comes to its end, whatever the scheduler wants."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _stop(_number: int, _frame: "Any") -> None:
    stop_listening()
    raise Stopped


def boundary(given: "dict[str, Any]") -> Boundary:
    """The filesystems that the job keeps to, by its parameter `roots`."""
    return Boundary([encoded(root) for root in given["roots"]])


def encoded(path: str) -> bytes:
    """A path as the system has it, whatever the job's locale: Python 3.6 takes an unset one for ASCII."""
    return path.encode("utf-8", "surrogateescape")


def refusal(path: str, error: "Failure | OSError") -> str:
    """Why the system refused something about the transfer's file `path`, in words for the log."""
    if isinstance(error, OSError):
        return "%s: %s" % (path, error.strerror or error)  # noqa: UP031
    if error.code == errno.EXDEV:
        return "%s leads out of the filesystems of this system" % path  # noqa: UP031
    return "%s: %s" % (path, error.words)  # noqa: UP031


def say(text: str) -> None:
    """Print a line with the date to the job's log."""
    _print(text, sys.stdout)


def fail(text: str) -> "NoReturn":
    """Print a line with the date to the job's error log, and end the job with exit status 1."""
    _print(text, sys.stderr)
    sys.exit(1)


def _print(text: str, log: "TextIO") -> None:
    date = time.strftime("%a %b %d %H:%M:%S UTC %Y", time.gmtime())
    line = "%s %s\n" % (date, text)  # noqa: UP031  # as `date -u` prints it
    # Names that the log's encoding does not have must not end the job.
    log.buffer.write(line.encode("utf-8", "backslashreplace"))
    log.flush()

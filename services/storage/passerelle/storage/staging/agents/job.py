"""What the programs of transfer jobs share: their parameters, and what they say.

Runs on the system, on Python 3.6 and newer.
"""

import json
import os
import sys
import time

from passerelle.storage.remote.boundary import Boundary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, TextIO


def parameters() -> "dict[str, Any]":
    """What the job was sent with: read from the file that is the program's argument, which is removed at once.

    Ends the job when the file is gone: a job that its scheduler starts a second time has to be submitted again.
    """
    try:
        with open(sys.argv[1], "rb") as file:
            os.unlink(sys.argv[1])
            return dict(json.loads(file.read().decode()))
    except FileNotFoundError:
        fail(
            "The parameters of this transfer are gone: it ran before, or was submitted too long ago."
        )


def boundary(given: "dict[str, Any]") -> Boundary:
    """The filesystems that the job keeps to, by its parameter `roots`."""
    return Boundary([encoded(root) for root in given["roots"]])


def encoded(path: str) -> bytes:
    """A path as the system has it, whatever the job's locale: Python 3.6 takes an unset one for ASCII."""
    return path.encode("utf-8", "surrogateescape")


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

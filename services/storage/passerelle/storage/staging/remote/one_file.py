"""What the jobs share that move one file between the system and one peer, in one go.

Their parameters are `operation` (`receive` or `send`, as the job sees it), `path`, and the `roots` that it must not
lead out of; `part`, the name beside it under which content arrives (empty when nothing does). Runs on the system, on
Python 3.6 and newer.
"""

import os
import stat
from contextlib import contextmanager

from passerelle.storage.remote.outcome import Failure
from passerelle.storage.staging.remote.arriving import leaves_part
from passerelle.storage.staging.remote.job import (
    Stopped,
    boundary,
    encoded,
    fail,
    nothing_is_left,
    refusal,
    stop_listening,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import FileIO
    from typing import Any

    Given = dict[str, Any]


class Broken(Exception):
    """The transfer cannot be completed; the text says why."""


def run_job(
    given: "Given",
    receive: "Callable[[Given], None]",
    send: "Callable[[Given], None]",
    *failures: "type[Exception]",
    tidy: "Callable[[Given, bool], bool]" = lambda _given, _failed: True,
) -> None:
    """Do what the parameters ask for, then end the job saying how that went.

    `failures` are the method's own exceptions whose text says why a transfer failed; Broken, Failure, OSError and
    Stopped are known. `tidy` removes what the transfer leaves beyond the system, when it is told whether it failed,
    and returns whether nothing is left there.
    """
    expected = (Broken, *failures)  # type: tuple[type[Exception], ...]
    failure = ""
    try:
        (receive if given["operation"] == "receive" else send)(given)
        stop_listening()
    except expected as error:
        failure = "The transfer failed: %s" % error  # noqa: UP031
    except Failure as error:
        failure = "The transfer failed: " + refusal(given["path"], error)
    except OSError as error:
        failure = "The transfer failed: %s" % (error.strerror or error)
    except Stopped:
        failure = "The job was cancelled."
    stop_listening()
    if tidy(given, bool(failure)) and not leaves_part(given):
        nothing_is_left()
    if failure:
        fail(failure)


@contextmanager
def opened(given: "Given") -> "Iterator[FileIO]":
    """The file to send, open for reading inside the block, without a buffer; raises Failure, OSError, or Broken for
    what is no regular file. Never waits for a pipe."""
    path = encoded(given["path"])
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    with open(descriptor, "rb", buffering=0) as file:
        boundary(given).require_open(descriptor, path)
        require_regular(descriptor)
        yield file


def require_regular(file: int) -> None:
    """Raise Broken when an open file is a directory, a device or a pipe."""
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise Broken("it is not a regular file")

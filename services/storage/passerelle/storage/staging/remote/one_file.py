"""What jobs share that move one file between the system and one peer in a single stream.

Their parameters are `operation` (`receive` or `send`, from the job's point of view); `path`; `roots`, in which it must
lie; and `part`, the name in its directory under which content arrives (empty for `send`). Runs on the system, on Python
3.6 and newer.
"""

import os
import stat
from contextlib import contextmanager

from passerelle.storage.remote.outcome import Failure
from passerelle.storage.staging.remote.arriving import part_exists
from passerelle.storage.staging.remote.job import (
    Stopped,
    boundary,
    encoded,
    fail,
    ignore_signals,
    refusal,
    remove_parameters,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import FileIO
    from typing import Any

    Parameters = dict[str, Any]


class Broken(Exception):
    """The transfer cannot be completed; the text says why."""


def run_job(
    parameters: "Parameters",
    receive: "Callable[[Parameters], None]",
    send: "Callable[[Parameters], None]",
    *failures: "type[Exception]",
    tidy: "Callable[[Parameters, bool], bool]" = lambda _parameters, _failed: True,
) -> None:
    """Receive or send the file, log the result, and end the job.

    `failures` are exceptions of the staging method whose text says why a transfer failed, besides Broken, Failure,
    OSError and Stopped. `tidy` removes what the transfer leaves outside of the system. Its second argument is whether
    the transfer failed, and it returns whether nothing is left.
    """
    expected = (Broken, *failures)  # type: tuple[type[Exception], ...]
    failure = ""
    try:
        (receive if parameters["operation"] == "receive" else send)(parameters)
        ignore_signals()
    except expected as error:
        failure = "The transfer failed: %s" % error  # noqa: UP031
    except Failure as error:
        failure = "The transfer failed: " + refusal(parameters["path"], error)
    except OSError as error:
        failure = "The transfer failed: %s" % (error.strerror or error)
    except Stopped:
        failure = "The job was cancelled."
    ignore_signals()
    if tidy(parameters, bool(failure)) and not part_exists(parameters):
        remove_parameters()
    if failure:
        fail(failure)


@contextmanager
def open_source(parameters: "Parameters") -> "Iterator[FileIO]":
    """The file to send, open for reading in the block and unbuffered. Does not wait for the other end of a pipe.

    Raises Failure, OSError, and Broken when it is not a regular file.
    """
    path = encoded(parameters["path"])
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    with open(descriptor, "rb", buffering=0) as file:
        boundary(parameters).require_open(descriptor, path)
        require_regular(descriptor)
        yield file


def require_regular(file: int) -> None:
    """Raise Broken when an open file is a directory, a device or a pipe."""
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise Broken("it is not a regular file")

"""What GNU tools say on stderr (LC_ALL=C), as errors; gnu.py is the way back."""

import errno
import os
from collections.abc import Mapping

from passerelle.runtime.command import Output
from passerelle.runtime.errors import ApiError, BackendError
from passerelle.storage.files import FileError

_NUMBERS: Mapping[str, int] = {os.strerror(number): number for number in errno.errorcode}


def first_line(output: Output) -> str:
    """What came first: `find: '/path': No such file or directory`."""
    return output.stderr.strip().split("\n")[0]


def failure_of(output: Output, step: str, path: str) -> ApiError:
    """The FileError about `path` that the first line tells; BackendError when it ends in no system call's words."""
    line = first_line(output)
    number = _NUMBERS.get(line.rpartition(": ")[2])
    if number is None:
        return BackendError(line or f"The remote command failed with status {output.status}.")
    return FileError(step, path, number)

"""Errors made from the messages of GNU tools on stderr (LC_ALL=C); storage/firecrest/gnu_wording.py is the inverse.

A message begins with the program's name and ends with the error of a system call. Users can control what is between,
such as file names. coreutils quote line breaks in names, so their first line is their first message. find and shells
do not, so only the very end of their output can be trusted.
"""

import errno
import os
from collections.abc import Mapping

from passerelle.runtime.command import Output
from passerelle.runtime.errors import ApiError, BackendError, Unsupported
from passerelle.storage.errors import FileError

_NUMBERS: Mapping[str, int] = {
    **{os.strerror(number): number for number in errno.errorcode},
    # words of shells
    "Directory nonexistent": errno.ENOENT,
    "No such file": errno.ENOENT,
    "cannot overwrite existing file": errno.EEXIST,
}
_NOT_FOUND = 127  # the status of env(1), and of shells, when there is no such program
_UNQUOTED = ("find: ", "sh: ", "bash: ")


def complaint(output: Output) -> str:
    """The message that tells the failure: `mkdir: cannot create directory '/path': Permission denied`."""
    lines = output.stderr.strip().split("\n")
    return lines[-1] if output.stderr.startswith(_UNQUOTED) else lines[0]


def begins(output: Output, words: str) -> bool:
    """Whether that message begins with these words, which start with the program's name."""
    return complaint(output).startswith(words)


def failure_of(output: Output, step: str, path: str) -> ApiError:
    """The error of a failed program: Unsupported when it is not installed, FileError about `path` when its message
    names a system error, else BackendError."""
    message = complaint(output)
    if output.status == _NOT_FOUND:
        return Unsupported(f"The system lacks a program: {message}")
    number = _NUMBERS.get(message.rpartition(": ")[2])
    if number is None:
        return BackendError(message or f"The remote command failed with status {output.status}.")
    return FileError(step, path, number)

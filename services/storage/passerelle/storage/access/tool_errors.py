"""What GNU tools say on stderr (LC_ALL=C), as errors; storage/firecrest/gnu_wording.py is the way back.

A complaint begins with the program's name and ends with a system call's error; what stands between may be anybody's.
coreutils quote line breaks in names, so that their first line is their first complaint. find and shells do not: of what
they say only the very end is known to be theirs.
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
    """The complaint that counts: `mkdir: cannot create directory '/path': Permission denied`."""
    lines = output.stderr.strip().split("\n")
    return lines[-1] if output.stderr.startswith(_UNQUOTED) else lines[0]


def begins(output: Output, words: str) -> bool:
    """Whether the complaint that counts begins with these words, the program's name first."""
    return complaint(output).startswith(words)


def failure_of(output: Output, step: str, path: str) -> ApiError:
    """The FileError about `path` that a failed program tells; Unsupported when it is not there; else BackendError."""
    message = complaint(output)
    if output.status == _NOT_FOUND:
        return Unsupported(f"The system lacks a program: {message}")
    number = _NUMBERS.get(message.rpartition(": ")[2])
    if number is None:
        return BackendError(message or f"The remote command failed with status {output.status}.")
    return FileError(step, path, number)

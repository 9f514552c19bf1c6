"""The error that a failed tar(1) means, by its exit status and messages.

A message about a file is one line, `tar: NAME: ACTION: REASON`. Colons and line breaks in names are escaped there (GNU
tar always quotes them), and REASON is a system call's error in the C locale. Users can control the rest of the output:
it is passed on, but decides nothing.
"""

import errno
import os
import re
from collections.abc import Mapping, Sequence

from passerelle.runtime.command import Output
from passerelle.runtime.errors import (
    ApiError,
    BackendError,
    FailedPrecondition,
    InvalidArgument,
    Unsupported,
)
from passerelle.storage.errors import NoSpace, meaning

_PARTLY = 1  # tar's exit status when a file changed while it was read, and find's when it could not see everything
_NOT_FOUND = 127  # the exit status of the shell by which tar runs a program that does not exist
_SIGNALLED = 128  # exit statuses above it are of programs that a signal ended
_TEXT = r"(?:[^:\\]|\\.)*"
_COMPLAINT = re.compile(rf"tar(?: \(child\))?: {_TEXT}: (?P<tried>Cannot {_TEXT}): (?P<why>[^:]+)")
# Actions that fail because of the archive alone; all others depend on the directory, too.
_UNMAKEABLE = re.compile(r"Cannot (?:mknod|mkfifo|hard link to .*)")
_FULL = (errno.ENOSPC, errno.EDQUOT)
# Of several reasons the first in this order decides; from the third on, the order is FirecREST's.
_ORDER = (
    *_FULL,
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
)
_NUMBERS: Mapping[str, int] = {os.strerror(number): number for number in _ORDER}


def packing_fault(output: Output, program: str) -> type[ApiError]:
    """The error that means that packing failed; `program` compresses."""
    if _missing(output, program):
        return Unsupported
    if output.status > _SIGNALLED:
        return BackendError
    reasons = _reasons(output)
    if reasons:
        return meaning(reasons[0])
    return FailedPrecondition if output.status == _PARTLY else BackendError


def unpacking_fault(output: Output, program: str, *, apart: bool) -> type[ApiError]:
    """The error that means that unpacking failed; `program` decompresses.

    In a directory made for it (`apart`), only a full disk is not the archive's fault; else the directory may be, too.
    """
    if _missing(output, program):
        return Unsupported
    if output.status > _SIGNALLED:
        return BackendError
    reasons = _reasons(output)
    if reasons and (reasons[0] in _FULL or not apart):
        return NoSpace if reasons[0] in _FULL else meaning(reasons[0])
    return InvalidArgument


def _missing(output: Output, program: str) -> bool:
    complaints = {
        f"tar (child): {program}: Cannot exec: {os.strerror(errno.ENOENT)}",
        f"tar (grandchild): {program}: Cannot exec: {os.strerror(errno.ENOENT)}",
        f"tar: Child returned status {_NOT_FOUND}",
    }
    return not complaints.isdisjoint(output.stderr.split("\n"))


def _reasons(output: Output) -> Sequence[int]:
    """The errnos of tar's failed actions, the deciding one first."""
    complaints = [_COMPLAINT.fullmatch(line) for line in output.stderr.split("\n")]
    numbers = {
        _NUMBERS.get(match["why"])
        for match in complaints
        if match and not _UNMAKEABLE.fullmatch(match["tried"])
    }
    return [number for number in _ORDER if number in numbers]

"""The errors of files on the systems.

FileError                                         as its errno means  the system refused: a step, a path, an errno
NoSpace             RESOURCE_EXHAUSTED       507  the disk is full, or the quota is used up
Outside             INVALID_ARGUMENT         400  a path leads out of the system's filesystems
PreconditionFailed  FAILED_PRECONDITION      412  the file is not the version that the caller means
Changed             ABORTED                  409  the file changed while it was read
ProgramFailed                            as told  a program on the system failed, in its own words
"""

import errno
import os
from collections.abc import Mapping

import grpc

from passerelle.runtime.command import Output
from passerelle.runtime.errors import (
    AlreadyExists,
    ApiError,
    BackendError,
    FailedPrecondition,
    Field,
    Forbidden,
    InvalidArgument,
    NotFound,
    TooLarge,
)
from passerelle.storage.paths import shown
from passerelle.storage.remote.outcome import kind_errno, kind_message


class NoSpace(ApiError):
    """The system's disk is full, or the user's quota is used up."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "NO_SPACE"
    http = 507


class FileAccessDenied(Forbidden):
    """The system denies the caller's account this access to a file; another token would not help."""

    reason = "FILE_ACCESS_DENIED"


class TargetExists(AlreadyExists):
    """The target of a transfer exists already."""

    reason = "TARGET_EXISTS"


# The errors for failed system calls; any other errno is a fault of the system (BackendError).
_MEANINGS: Mapping[int, type[ApiError]] = {
    errno.ENOENT: NotFound,
    errno.EACCES: FileAccessDenied,
    errno.EPERM: FileAccessDenied,
    errno.EROFS: Forbidden,
    errno.EEXIST: AlreadyExists,
    errno.EISDIR: FailedPrecondition,
    errno.ENOTDIR: FailedPrecondition,
    errno.ENOTEMPTY: FailedPrecondition,
    errno.EBUSY: FailedPrecondition,
    errno.ETXTBSY: FailedPrecondition,
    errno.ELOOP: FailedPrecondition,
    errno.EINVAL: FailedPrecondition,
    errno.ENAMETOOLONG: InvalidArgument,
    errno.EFBIG: TooLarge,
    errno.ENOSPC: NoSpace,
    errno.EDQUOT: NoSpace,
}


def meaning(number: int) -> type[ApiError]:
    """The class of error for the errno of a failed system call."""
    return _MEANINGS.get(number, BackendError)


class FileError(ApiError):
    """A file operation that the system refused: `step` (access, open, read, write, mkdir, unlink …), `path`, `errno`.

    It is sent as the error for its errno, with the text of strerror(3) unless another message is given.
    """

    def __init__(self, step: str, path: str, number: int, words: str = "") -> None:
        self.meaning = meaning(number)
        self.words = words or os.strerror(number)
        path = shown(path)
        super().__init__(f"{path}: {self.words}", path=path, errno=errno.errorcode.get(number, ""))
        self.travelling_as(self.meaning)
        self.step = step
        self.path = path
        self.errno = number


def not_regular(step: str, path: str, mode: int) -> FileError:
    """The error for a file that has to be a regular one, and is not by its `mode` (stat(2)'s)."""
    return FileError(step, path, kind_errno(mode), kind_message(mode))


class Outside(InvalidArgument):
    """A path leads out of the filesystems of its system: `path`, as given in `field`, and `system`."""

    def __init__(self, field: str, path: str, system: str) -> None:
        self.path = shown(path)
        self.system = system
        violation = f"leads out of the filesystems of system {system}"
        super().__init__(f"{field} {violation}: {self.path}", (Field("query", field, violation),))


class PreconditionFailed(ApiError):
    """The file does not have the version that the request requires."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "PRECONDITION_FAILED"
    http = 412


class Changed(ApiError):
    """The file changed while it was read, so that the bytes read may mix versions."""

    code = grpc.StatusCode.ABORTED
    reason = "FILE_CHANGED"
    http = 409

    def __init__(self, path: str) -> None:
        super().__init__(f"{shown(path)}: The file changed while it was read.", path=shown(path))


class DataLoss(ApiError):
    """The received content differs from the content that was sent; the target was not changed."""

    code = grpc.StatusCode.DATA_LOSS
    reason = "DATA_LOSS"
    http = 502


class ProgramFailed(ApiError):
    """A program on the system failed: `meaning` is the error that is sent, `output` the program's output."""

    def __init__(self, meaning: type[ApiError], output: Output) -> None:
        message = output.stderr.strip() or f"The program ended with status {output.status}."
        super().__init__(message)
        self.travelling_as(meaning)
        self.meaning = meaning
        self.output = output

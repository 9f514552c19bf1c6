"""The messages of GNU tools for system errors, which FirecREST's clients parse (`cannot statx`, `File exists`, …).

One table, from FirecREST's recorded messages (coreutils 9.1, C locale); the exit statuses are those tools' too.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager

from passerelle.runtime.errors import (
    ApiError,
    InvalidArgument,
    TooLarge,
)
from passerelle.storage.errors import FileError, Outside, ProgramFailed
from passerelle.storage.files.attributes import InvalidAttribute

# By program and failed step; a step that is not listed is worded as the program's first one.
_PHRASES: Mapping[str, Mapping[str, str]] = {
    "ls": {"access": "cannot access '{}'", "open": "cannot open directory '{}'"},
    "stat": {"access": "cannot statx '{}'"},
    "head": {"open": "cannot open '{}' for reading", "read": "error reading '{}'"},
    "tail": {"open": "cannot open '{}' for reading", "read": "error reading '{}'"},
    "dd": {"open": "failed to open '{}'", "read": "error reading '{}'"},
    "base64": {"open": "{}", "read": "read error"},
    "bash": {"open": "line 1: {}"},
    "mkdir": {"mkdir": "cannot create directory '{}'"},
    "rm": {"unlink": "cannot remove '{}'"},
    "sha256sum": {"open": "{}", "read": "{}"},
    "file": {"open": "cannot open '{}'"},
    "chmod": {"access": "cannot access '{}'", "chmod": "changing permissions of '{}'"},
    "chown": {"access": "cannot access '{}'", "chown": "changing ownership of '{}'"},
    "tar": {"open": "{}: Cannot open", "access": "{}: Cannot stat", "read": "{}: Cannot read"},
    "ln": {"symlink": "failed to create symbolic link '{}'"},
}


class errors_of(AbstractContextManager[None]):
    """Raise errors of the block in FirecREST's words: the message that `program` would have printed for `path`.

    A class, since a generator around each call would take longer.
    """

    __slots__ = ("_path", "_program", "_too_large")

    def __init__(
        self,
        program: str,
        path: str,
        *,
        too_large: str = "Command output exceeded buffer limit.",
    ) -> None:
        self._program = program
        self._path = path
        self._too_large = too_large

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None and (reworded := self._reworded(error)) is not None:
            raise reworded from None

    def _reworded(self, error: BaseException) -> ApiError | None:
        match error:
            case Outside():
                return InvalidArgument(
                    f"The provided path ({error.path}) does not match any of the defined filesystem paths "
                    f"for the requested system ({error.system})."
                )
            case FileError(step="limit"):
                return TooLarge(self._too_large)
            case FileError():
                return _refused(self._program, self._path, error)
            case ProgramFailed():
                return _failed(error)
            case InvalidAttribute():
                return InvalidAttribute(_message(self._program, error.detail), error.fields)
        return None


def _refused(program: str, path: str, error: FileError) -> ApiError:
    phrases = _PHRASES[program]
    phrase = phrases.get(error.step, next(iter(phrases.values()))).format(error.path)
    return failure(
        program, f"{phrase}: {error.words}", error.meaning, _status(program, path, error)
    )


def _status(program: str, path: str, error: FileError) -> int:
    """The exit status of `program`: ls has 2 for an error about its argument, 1 for an error about an entry."""
    whole = program == "ls" and error.path.rstrip("/") == path.rstrip("/")
    return 2 if whole or program == "tar" else 1


def failure(program: str, message: str, kind: type[ApiError], status: int = 1) -> ApiError:
    """The error for a failed program, in FirecREST's words."""
    return kind(_message(program, message, status))


def _message(program: str, message: str, status: int = 1) -> str:
    return f"Remote process failed with exit status:{status} and error message:{program}: {message}"


def _failed(error: ProgramFailed) -> ApiError:
    """The error for a failed program in FirecREST's words, with all of its output."""
    message = error.output.stderr.strip()
    words = f" and error message:{message}" if message else ""
    status = error.output.status
    return error.meaning(f"Remote process failed with exit status:{status}{words}")

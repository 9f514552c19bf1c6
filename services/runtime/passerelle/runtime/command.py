"""Commands for systems, as data: a command has its arguments, its input and the parser of its output.

No shell parses any of these.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar

from passerelle.runtime.errors import ApiError, BackendError

T = TypeVar("T")

CLEARED_VARIABLES = (
    *("BASH_ENV", "ENV", "CDPATH", "POSIXLY_CORRECT", "TZ", "COLUMNS", "BLOCK_SIZE", "BLOCKSIZE"),
    *("LS_COLORS", "LS_BLOCK_SIZE", "DF_BLOCK_SIZE", "DU_BLOCK_SIZE", "QUOTING_STYLE", "TIME_STYLE"),
    *("TAR_OPTIONS", "GZIP", "BZIP2", "XZ_OPT", "XZ_DEFAULTS", "ZSTD_CLEVEL", "GREP_OPTIONS"),
)  # fmt: skip
"""Environment variables that change what standard tools do or print; commands run without them."""


@dataclass(frozen=True, slots=True)
class Request:
    """A program to run, found in the user's PATH. A lone surrogate is a byte that is not UTF-8 (PEP 383).

    `unset` are the variables that it must not see; `PREFIX*` stands for all whose names begin with PREFIX.
    """

    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    unset: Sequence[str] = CLEARED_VARIABLES


@dataclass(frozen=True, slots=True)
class Output:
    """The result of a command: exit status (128 + n when signal n ended it), and both streams as text."""

    status: int
    stdout: str
    stderr: str


def error_of(output: Output) -> ApiError:
    """The error for a failed command, with what it printed on stderr.

    Its class does not depend on that text, which can come from anybody.
    """
    words = output.stderr.strip()
    return BackendError(words or f"The remote command failed with exit status {output.status}.")


@dataclass(frozen=True)
class Command(Generic[T]):
    """One run of a program, in the C locale, since GNU tools print curly quotes in UTF-8 locales.

    `parse` turns stdout into the result. `failure` turns the output of a failed run into the error to raise.
    `repeatable` says that running it twice does no harm, so that it may be tried again when the connection is lost.
    `accepts` are the exit statuses that mean success. `unset` are variables of the user's own environment that the
    program must not see (`NAME`, or `PREFIX*`), `environment` are variables that are set for it.

    `greeted` is called with each line that the program prints, until it returns true. Only then the program gets its
    input, so a program that has not greeted has had none. `seconds_after_input` is how long the program may run after
    its input was sent; then it is told to end.
    """

    argv: tuple[str, ...]
    parse: Callable[[str], T]
    stdin: str = field(default="", repr=False)
    failure: Callable[[Output], ApiError] = error_of
    repeatable: bool = True
    accepts: tuple[int, ...] = (0,)
    unset: tuple[str, ...] = CLEARED_VARIABLES
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    greeted: Callable[[str], bool] | None = None
    seconds_after_input: float | None = None

    @property
    def request(self) -> Request:
        """A command as the system runs it."""
        return Request(self.argv, self.environment, self.unset)

    def result(self, output: Output) -> T:
        """The parsed value of an ended run. Raises the error that `failure` makes of a failed one."""
        if output.status not in self.accepts:
            raise self.failure(output)
        return self.parse(output.stdout)


class Shell(Protocol):
    """Runs commands on one system, as the current caller."""

    async def run(self, command: Command[T]) -> T:
        """Run it to its end and return the parsed result.

        Raises ConnectionFailed, Overloaded or DeadlineExceeded when the command cannot be run in time, and the error of
        `command.failure` when it fails.
        Cancelling the call ends the remote process.
        """
        ...

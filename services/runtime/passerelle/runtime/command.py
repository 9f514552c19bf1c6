"""A command for a system, as data: argv and stdin in, a parsed value out; no shell parses any of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar

from passerelle.runtime.errors import ApiError, BackendError

T = TypeVar("T")

STEADY = (
    *("BASH_ENV", "ENV", "CDPATH", "POSIXLY_CORRECT", "TZ", "COLUMNS", "BLOCK_SIZE", "BLOCKSIZE"),
    *("LS_COLORS", "LS_BLOCK_SIZE", "DF_BLOCK_SIZE", "DU_BLOCK_SIZE", "QUOTING_STYLE", "TIME_STYLE"),
    *("TAR_OPTIONS", "GZIP", "BZIP2", "XZ_OPT", "XZ_DEFAULTS", "ZSTD_CLEVEL", "GREP_OPTIONS"),
)  # fmt: skip
"""Variables that make standard tools say or do something else than their arguments tell."""


@dataclass(frozen=True, slots=True)
class Request:
    """A program to run, found in the user's PATH; lone surrogates are bytes that are not UTF-8 (PEP 383).

    `unset` are variables that it shall not see; one that ends in `*` stands for all that begin so.
    """

    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    unset: Sequence[str] = STEADY


@dataclass(frozen=True, slots=True)
class Output:
    """The result of a command: exit status (128 + n when signal n ended it), and both streams as text."""

    status: int
    stdout: str
    stderr: str


def error_of(output: Output) -> ApiError:
    """The error that a failed command is, in the system's own words, which decide nothing: they may be anybody's."""
    words = output.stderr.strip()
    return BackendError(words or f"The remote command failed with exit status {output.status}.")


@dataclass(frozen=True)
class Command(Generic[T]):
    """One program run, in the C locale: UTF-8 ones make GNU tools print curly quotes. `argv` is never a string.

    `parse` turns stdout into the result. `failure` turns the output of a failed run into the error to raise.
    `repeatable` says that running it twice does no harm, so that it may be tried again when the connection is lost.
    `accepts` are the exit statuses that mean success. `unset` are variables of the user's own environment that the
    program shall not see (`NAME`, or `PREFIX*`), `environment` those that it shall. `greeted` is told the lines that
    the program prints, up to the one for which it says yes; only then does its input go to it, so that without a
    greeting it has had none. `seconds_after_input` is how long it may run with it; then it is told to end.
    """

    argv: tuple[str, ...]
    parse: Callable[[str], T]
    stdin: str = field(default="", repr=False)
    failure: Callable[[Output], ApiError] = error_of
    repeatable: bool = True
    accepts: tuple[int, ...] = (0,)
    unset: tuple[str, ...] = STEADY
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

        Raises ConnectionFailed, Overloaded or DeadlineExceeded for the way there, and what `command.failure` makes.
        Cancelling the call ends the remote process.
        """
        ...

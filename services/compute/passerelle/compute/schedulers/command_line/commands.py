"""Commands whose parser sees a program's status and streams, and parsers for several schedulers."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from passerelle.runtime.command import CLEARED_VARIABLES, Command, Output, T
from passerelle.runtime.errors import BackendError


@dataclass(frozen=True)
class _WholeCommand(Command[T]):
    read: Callable[[Output], T] = field(kw_only=True)

    def result(self, output: Output) -> T:
        """The value that `read` makes of an ended run."""
        return self.read(output)


def whole_command(
    argv: tuple[str, ...],
    read: Callable[[Output], T],
    *,
    unset: tuple[str, ...] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Command[T]:
    """A question whose answer `read` makes of all that the program left; it raises the error of a failed run.

    For programs that answer for one job and fail for another in one run, or that fail with exit status 0. `unset` are
    variables of the user that the program shall not see, besides those that disturb any program; `environment` are
    those that it shall.
    """
    return _WholeCommand(
        argv, _unread, unset=(*CLEARED_VARIABLES, *unset), environment=environment, read=read
    )


def _unread(text: str) -> Any:
    raise AssertionError("the output is read as a whole")


def the_line(pattern: str) -> Callable[[str], str]:
    """A parser that gives what the group in `pattern` matches, in the last line that does; BackendError without one."""

    def parse(text: str) -> str:
        matches = re.findall(pattern, text, re.MULTILINE)
        if not matches:
            raise BackendError("The scheduler answered in a form that is not known here.")
        return str(matches[-1])

    return parse

"""The inputs of a scheduler plugin for the conformance suite (`tests/conformance/test_schedulers.py`).

The suite runs for every installed scheduler. For each it looks for a function `prepared(shell, directory)`, an
asynchronous context manager that yields `Prepared`: in the module `conformance` of the package that holds the plugin,
or, for the plugins that come with Passerelle, in the module of the plugin's name in tests/conformance/schedulers.
`shell` runs commands on this machine with `directory` as their home, and looks for programs in `directory/bin` first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from passerelle.compute.scheduler import Scheduler
from passerelle.runtime.command import Shell


class LoggingShell(Shell, Protocol):
    """A `Shell` that keeps the command lines that it ran."""

    @property
    def lines(self) -> list[str]:
        """The command lines, as for a POSIX shell, oldest first."""
        ...


@dataclass(frozen=True)
class Prepared:
    """A scheduler with jobs in known states, on a real system, or on outputs that were recorded or documented."""

    scheduler: Scheduler
    user: str
    """The jobs' user."""
    jobs: Mapping[str, str]
    """Ids: `succeeded`, `failed` (exit code 3), `running`, `cancelled`, `timeout`, each with its kind as its name."""
    lines: list[str]
    """The command lines that were run."""
    script: str | None
    """The script of `succeeded`; None when the scheduler does not return scripts."""
    lacks: frozenset[str] = frozenset()
    """The port's methods that raise Unsupported."""

"""What `passerelle config check --connect` tries.

Each section, and each plugin's `Options`, brings its own: `Section.trials`, and `Section.trials_on` for what needs a
login to a system.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from passerelle.runtime.config.site import System
    from passerelle.runtime.ssh.connection import Connection


class Failed(Exception):
    """It does not work; the text says why."""


class Doubt(Exception):
    """It works, but not as everybody would expect; the text says how."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One thing to try.

    `run` returns what it found, in some words; it raises Failed, Doubt or an ApiError. `mend` says where to look when
    it fails. One on a system is made when its commands run, or, where it needs none, when the login worked.
    """

    name: str
    run: Callable[[], Awaitable[str]]
    mend: str = ""
    needs_commands: bool = True


@dataclass(slots=True)
class LoggedIn:
    """A system and the connection to it of the account of its health checks, once there is one."""

    system: "System"
    opened: "Connection | None" = None

    @property
    def connection(self) -> "Connection":
        """The connection, for a trial that runs."""
        if self.opened is None:
            raise Failed("not logged in")
        return self.opened

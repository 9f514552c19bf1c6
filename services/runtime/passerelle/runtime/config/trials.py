"""What `passerelle config check --connect` tries.

Each section, and each plugin's `Options`, brings its own: `Section.trials`, and `Section.trials_on` for what needs a
login to a system.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from passerelle.runtime.command import Output, Request

if TYPE_CHECKING:
    from passerelle.runtime.config.site import System


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


class Login(Protocol):
    """An open connection of an account, as far as trials need it; see `runtime.ssh.connection.Connection`."""

    async def run(self, request: Request, stdin: str, limit: float) -> Output:
        """Run a program to its end, within `limit` seconds."""
        ...

    async def start(self) -> Any:
        """Open a session, with a method `close`; Overloaded when the system opens no more."""
        ...

    async def sftp(self) -> Any:
        """The SFTP session; raises where there is none."""
        ...


@dataclass(slots=True)
class LoggedIn:
    """A system and the connection to it of the account of its health checks, once there is one."""

    system: "System"
    opened: Login | None = None

    @property
    def connection(self) -> Login:
        """The connection, for a trial that runs."""
        if self.opened is None:
            raise Failed("not logged in")
        return self.opened

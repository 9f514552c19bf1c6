"""The trials of `passerelle config check --connect`.

Each section, and each plugin's `Options`, yields its own: in `Section.trials`, and those that need a login to a system
in `Section.login_trials`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from passerelle.runtime.command import Output, Request

if TYPE_CHECKING:
    from passerelle.runtime.config.site import System


class Failed(Exception):
    """A trial failed; the text says why."""


class Caveat(Exception):
    """A trial succeeded, but not as everybody would expect; the text says how."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One thing to try.

    `run` returns its result as a short text; it raises Failed, Caveat or an ApiError. `hint` says where to look when it
    fails. A trial on a system runs when commands run there, or, where `needs_commands` is false, when the login works.
    """

    name: str
    run: Callable[[], Awaitable[str]]
    hint: str = ""
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
class SystemLogin:
    """A system, and the connection to it as the account of its health checks, once there is one."""

    system: "System"
    opened: Login | None = None

    @property
    def connection(self) -> Login:
        """The connection; raises Failed when there is none."""
        if self.opened is None:
            raise Failed("not logged in")
        return self.opened

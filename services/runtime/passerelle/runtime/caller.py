"""Who is calling, and in which request, for the length of one RPC."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Caller:
    """The principal of the RPC being served: its account name on the systems, and its access token.

    `issuer`, `subject` and `client_id` say by whom, to whom and to which OAuth client the token was issued; they are
    empty where the token does not say it. `expires` is when the token does, in seconds since the epoch.
    """

    username: str
    token: str = field(repr=False)
    issuer: str = ""
    subject: str = ""
    client_id: str = ""
    expires: float = math.inf

    @property
    def identity(self) -> tuple[str, str, str]:
        """Who it is, whatever its token and client: issuer, subject and account.

        The key for what one person may have or do. Several persons may share an account, and issuers may give out the
        same subject; but what a system says to an account, or holds for it, depends on the account alone.
        """
        return self.issuer, self.subject, self.username

    @property
    def log_fields(self) -> dict[str, str]:
        """The caller's fields in log lines, those that are known."""
        fields = {
            "issuer": self.issuer,
            "subject": self.subject,
            "client_id": self.client_id,
            "user": self.username,
        }
        return {name: value for name, value in fields.items() if value}


CLAIMS = ("username", "issuer", "subject", "client_id")
"""What a token says of its bearer: fields of these names have `Caller`, auth's `Principal`, and the contract's."""


def claims_of(principal: Any) -> dict[str, str]:
    """The claims of any of them, by their names."""
    return {name: getattr(principal, name) for name in CLAIMS}


_caller: ContextVar[Caller] = ContextVar("caller")  # no default: a missing caller is a bug
_request_id: ContextVar[str] = ContextVar("request_id", default="")


def begin(caller: Caller) -> None:
    """Make `caller` the current one of this context from now on, and of tasks that begin in it."""
    _caller.set(caller)


@contextmanager
def bind(caller: Caller) -> Iterator[None]:
    """Make `caller` the current one inside the block."""
    reset = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(reset)


def current() -> Caller:
    """The caller of the RPC being served; LookupError outside of one."""
    return _caller.get()


def begin_request(request_id: str) -> None:
    """Make `request_id` the one of this context from now on; it is passed on to other services."""
    _request_id.set(request_id)


def request_id() -> str:
    """The request id of the RPC being served; empty outside of one."""
    return _request_id.get()

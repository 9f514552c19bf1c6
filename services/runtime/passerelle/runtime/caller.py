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

    `issuer` has issued the token to `subject`, by way of the OAuth client `client_id`; each is empty where the token
    does not name it. `expires` is when the token expires, in seconds since the epoch.
    """

    username: str
    token: str = field(repr=False)
    issuer: str = ""
    subject: str = ""
    client_id: str = ""
    expires: float = math.inf

    @property
    def identity(self) -> tuple[str, str, str]:
        """The person, independent of the token and the client: issuer, subject and account name.

        It is the key for what one person may have or do, since persons may share an account, and two issuers may use
        the same subject. What a system answers to an account depends on the account alone.
        """
        return self.issuer, self.subject, self.username

    @property
    def log_fields(self) -> dict[str, str]:
        """The caller's fields in log lines; those that are empty are left out."""
        fields = {
            "issuer": self.issuer,
            "subject": self.subject,
            "client_id": self.client_id,
            "user": self.username,
        }
        return {name: value for name, value in fields.items() if value}


CLAIMS = ("username", "issuer", "subject", "client_id")
"""The names of fields that `Caller`, auth's `Principal` and the contract's `Principal` share: claims of a token."""


def claims_of(principal: Any) -> dict[str, str]:
    """These fields of any of the three, by their names."""
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

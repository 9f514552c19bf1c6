"""The target of the end-to-end tests: one system behind a running gateway."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One system, and a user of it."""

    base_url: str
    """Of the gateway, without a slash at the end."""
    system: str
    """The system's name in requests."""
    user: str
    """The account's name on the system."""
    token: Callable[[], str]
    """A fresh access token of that user."""
    directory: str
    """An existing directory there that the user may write to."""
    partition: str
    """A partition that every job may use."""
    account: str | None = None
    """An account the user may charge; None where the scheduler knows none."""

    def get_access_token(self) -> str:
        """What pyfirecrest asks its authorization object for."""
        return self.token()

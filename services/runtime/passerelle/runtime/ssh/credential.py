"""The credentials of a user for the login to a system."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SshCredential:
    """A login: the private key that we made, or `private_key` when the site has static keys.

    `expires` is in seconds since the epoch; None for a credential without an end.
    """

    username: str
    certificate: str
    private_key: str = field(repr=False)
    expires: float | None

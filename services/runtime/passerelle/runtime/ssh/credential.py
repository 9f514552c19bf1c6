"""What a user logs in to a system with."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SshCredential:
    """A way to log in: the private half that we made, or `private_key` when the site gives out static keys.

    `expires` is in seconds since the epoch; None for a credential without an end.
    """

    username: str
    certificate: str
    private_key: str = field(repr=False)
    expires: float | None

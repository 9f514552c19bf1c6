"""How a principal logs in to a system: a port with plugins.

A plugin is a class registered in the entry-point group `passerelle.credentials`. Its attribute `Options` is the
`Section` that describes its options; it is made with an instance of that, at start, and raises ConfigError when it
cannot work.
"""

from dataclasses import dataclass, field
from typing import Protocol

from passerelle.auth.tokens.principal import Principal


@dataclass(frozen=True, slots=True)
class Credential:
    """A way to log in as `username`.

    Texts are in OpenSSH's formats, and empty where there is none. `expires` is in seconds since the epoch, None for
    one without an end; `serial` is the certificate's; `fingerprint` is that of the public key, for the audit log.
    """

    username: str
    certificate: str
    private_key: str = field(repr=False)
    expires: int | None
    serial: int | None
    fingerprint: str


class Credentials(Protocol):
    """Issues credentials."""

    async def issue(self, principal: Principal, *, system: str, public_key: str) -> Credential:
        """A credential for the principal on one system.

        `public_key` is the caller's, in OpenSSH's one-line format; a certificate is made for it, a static key ignores
        it. Raises Forbidden for a principal without credentials, InvalidArgument for a key that cannot be certified.
        """
        ...

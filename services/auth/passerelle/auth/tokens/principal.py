"""The principal that an access token stands for."""

from dataclasses import dataclass

from passerelle.runtime.caller import Caller, claims_of


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller: the account name on the systems, where it comes from, and until when (seconds since the epoch).

    `subject` is empty when the token has none; `client_id`, the OAuth client it was issued to, likewise.
    """

    username: str
    issuer: str
    subject: str
    scopes: frozenset[str]
    expires: int
    client_id: str = ""

    def caller(self, token: str) -> Caller:
        """The caller of an RPC that shows `token`, whose principal this is."""
        return Caller(token=token, expires=self.expires, **claims_of(self))

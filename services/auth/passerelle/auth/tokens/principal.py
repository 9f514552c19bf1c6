"""The principal that an access token stands for."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Self

from passerelle.runtime.caller import Caller, claims_of


@dataclass(frozen=True, slots=True)
class Limits:
    """What a principal may do at most, whatever the site enforces otherwise; None is no limit."""

    scopes: frozenset[str] | None = None
    systems: frozenset[str] | None = None
    addresses: tuple[IPv4Network | IPv6Network, ...] | None = None

    @classmethod
    def of(
        cls,
        scopes: Iterable[str] | None,
        systems: Iterable[str] | None,
        addresses: Iterable[IPv4Network | IPv6Network] | None = None,
    ) -> Self:
        """The limits of a rule or of an API key."""
        return cls(
            None if scopes is None else frozenset(scopes),
            None if systems is None else frozenset(systems),
            None if addresses is None else tuple(addresses),
        )

    def allow_scope(self, scope: str) -> bool:
        """Whether a method that demands `scope` (empty for none) may be called."""
        return not scope or self.scopes is None or scope in self.scopes

    def allow_system(self, system: str) -> bool:
        """Whether a system may be used; `system` is empty for a call that names none."""
        return not system or self.systems is None or system in self.systems

    def allow_address(self, address: str) -> bool:
        """Whether a request may come from an IP address; no from what is none."""
        if self.addresses is None:
            return True
        try:
            source = ip_address(address)
        except ValueError:
            return False
        if isinstance(source, IPv6Address) and source.ipv4_mapped:
            source = source.ipv4_mapped
        return any(source in network for network in self.addresses)


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
    limits: Limits = field(default=Limits())

    def caller(self, token: str) -> Caller:
        """The caller of an RPC that shows `token`, whose principal this is."""
        return Caller(token=token, expires=self.expires, **claims_of(self))

"""Authorisation of principals on systems: a port with plugins.

A plugin is a class registered in the entry-point group `passerelle.authorizers`. Its attribute `Options` is the
`Section` that describes its options; it is made with an instance of that.
"""

from typing import Protocol

from passerelle.auth.tokens.principal import Principal


class Authorizer(Protocol):
    """Decides whether a principal has a relation to a system."""

    async def allowed(self, principal: Principal, *, relation: str, system: str) -> bool:
        """Whether the principal has the relation; raises BackendUnavailable when that cannot be determined.

        `system` is empty for an RPC that names none.
        """
        ...

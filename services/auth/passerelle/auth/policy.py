"""Decides whether the bearer of a token may call an RPC. The auth service authorises its own calls with it, too."""

from passerelle.auth.authorizers.port import Authorizer
from passerelle.auth.tokens.principal import Principal
from passerelle.auth.tokens.validation import Tokens
from passerelle.runtime.caller import Caller
from passerelle.runtime.errors import Forbidden
from passerelle.v1.access_pb2 import Access


class Policy:
    """Checks the token, its scope where scopes are enforced, its limits, and the principal's relation to the system."""

    def __init__(self, tokens: Tokens, authorizer: Authorizer, *, enforce_scopes: bool) -> None:
        self._tokens = tokens
        self._authorizer = authorizer
        self._enforce_scopes = enforce_scopes

    async def principal(self, token: str, *, scope: str, relation: str, system: str) -> Principal:
        """The principal of the token. Raises as `Tokens.principal`, and Forbidden when it is not authorised."""
        principal = await self._tokens.principal(token)
        missing = self._enforce_scopes and scope and scope not in principal.scopes
        if missing or not principal.limits.allow_scope(scope):
            raise Forbidden(f"The access token lacks the scope {scope}.", scope=scope)
        if not principal.limits.allow_system(system):
            raise Forbidden(f"The access token is not for system {system}.", system=system)
        if relation and not await self._authorizer.allowed(
            principal, relation=relation, system=system
        ):
            where = f" on system {system}" if system else ""
            raise Forbidden(f"User {principal.username} may not do that{where}.", relation=relation)
        return principal

    async def caller(self, token: str, *, access: Access, system: str) -> Caller:
        """See `runtime.stages.Authority`."""
        principal = await self.principal(
            token, scope=access.scope, relation=access.relation, system=system
        )
        return principal.caller(token)

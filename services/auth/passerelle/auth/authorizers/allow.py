"""Every valid token may do everything; the systems' own permissions decide the rest."""

from passerelle.auth.tokens.principal import Principal
from passerelle.runtime.config.sections import Section


class Allow:
    """An authorizer for sites where an account on a system is permission enough."""

    class Options(Section):
        """It has none."""

    def __init__(self, options: Options) -> None:
        pass

    async def allowed(self, principal: Principal, *, relation: str, system: str) -> bool:
        """See `Authorizer.allowed`: always true."""
        return True

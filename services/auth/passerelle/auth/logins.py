"""Issues SSH credentials: validates the token, asks the configured source, and writes a line of the audit log."""

import logging
from collections.abc import Collection

from passerelle.auth.credentials.port import Credential, Credentials
from passerelle.auth.tokens.validation import Tokens
from passerelle.runtime import log_fields
from passerelle.runtime.errors import FailedPrecondition, Forbidden, NotFound

log = logging.getLogger(__name__)


class Logins:
    """Issues SSH credentials for the bearers of valid tokens, on the site's systems."""

    def __init__(
        self, tokens: Tokens, credentials: Credentials | None, systems: Collection[str]
    ) -> None:
        self._tokens = tokens
        self._credentials = credentials
        self._systems = systems

    async def credential(self, token: str, *, system: str, public_key: str) -> Credential:
        """A credential with which the token's principal can log in to `system`.

        Raises what `Tokens.principal` and `Credentials.issue` do, NotFound for an unknown system, Forbidden for one
        that the token is not for, FailedPrecondition at a site that issues no credentials.
        """
        principal = await self._tokens.principal(token)
        if system not in self._systems:
            raise NotFound(f"System {system} not found.", system=system)
        if not principal.limits.allow_system(system):
            raise Forbidden(f"The access token is not for system {system}.", system=system)
        if self._credentials is None:
            raise FailedPrecondition("This site issues no SSH credentials.")
        issued = await self._credentials.issue(principal, system=system, public_key=public_key)
        fields = {"user": issued.username, "system": system, "expires": issued.expires}
        key = {"serial": issued.serial, "fingerprint": issued.fingerprint}
        log.info("issued an SSH credential", extra=fields | key)
        who = principal.caller(token).log_fields | {"user": issued.username, "system": system}
        log_fields.note(
            **who, **{name: str(value) for name, value in key.items() if value is not None}
        )
        return issued

"""Validates API keys, which callers show where others show an access token."""

import hmac
import re
import time
from collections.abc import Mapping
from pathlib import Path

from passerelle.auth.api_keys.key_file import PREFIX, ApiKey, digest_of, keys_in
from passerelle.auth.tokens.principal import Limits, Principal
from passerelle.auth.tokens.refusals import Refusal
from passerelle.auth.tokens.watched_file import WatchedFile
from passerelle.runtime.errors import Unauthenticated

ISSUER = "passerelle:api-keys"
"""The issuer of principals that showed an API key; their subject is its id."""

_FORM = re.compile(rf"{PREFIX}([0-9a-f]{{12}})_([A-Za-z0-9_-]{{43}})")
_NO_SECRET = (
    "0" * 64
)  # of a key that is not there: its digest is compared, too, so that no time tells


class ApiKeys(WatchedFile[Mapping[str, ApiKey]]):
    """The keys of a file. Raises ValueError when it cannot be read at the start."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, keys_in)

    def principal(self, text: str) -> Principal:
        """The principal of a key; raises Refusal with Unauthenticated when it is not valid.

        Accounts are those of the file, whose writers the site trusts.
        """
        form = _FORM.fullmatch(text)
        if form is None:
            raise _refused("form", "an API key as `passerelle auth key create` prints it")
        key = self.content.get(form[1])
        known = _NO_SECRET if key is None else key.digest
        if not hmac.compare_digest(digest_of(form[2]), known) or key is None:
            raise _refused(
                f"{form[1]}, unknown or with a wrong secret", "a key of `auth.api_keys.file`"
            )
        expires = int(key.expires.timestamp())
        if expires <= time.time():
            answer = Unauthenticated("API key expired")
            raise Refusal(
                answer, "api_key", f"{key.id}, expired {key.expires}", "one that is valid"
            )
        return Principal(
            username=key.account,
            issuer=ISSUER,
            subject=key.id,
            scopes=frozenset(key.scopes),
            expires=expires,
            client_id=key.id,
            limits=Limits.of(key.scopes, key.systems, key.addresses),
        )


def _refused(seen: str, expected: str) -> Refusal:
    return Refusal(Unauthenticated("API key is invalid."), "api_key", seen, expected)

"""Validates access tokens: JWTs signed by one of the configured issuers (RFC 7519, RFC 8725).

Callers see the messages as they are, whichever API they call.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import jwt
from jwt.utils import base64url_decode

from passerelle.auth.tokens.identity import identity
from passerelle.auth.tokens.introspection import Introspection
from passerelle.auth.tokens.issuer import Issuer
from passerelle.auth.tokens.keyset import Key, KeySet
from passerelle.auth.tokens.principal import Principal
from passerelle.auth.tokens.refusals import Refusal, RefusalLog
from passerelle.auth.tokens.token_type import require_client, require_token_type
from passerelle.auth.tokens.watched_file import WatchedFile
from passerelle.runtime.errors import BackendUnavailable, Unauthenticated

_MAX_TOKEN = 64 << 10  # characters; metadata may be twice that
_DATES = ("exp", "nbf", "iat")
_LAST_SECOND = 253402300799  # of the year 9999, where google.protobuf.Timestamp ends


Judge = Callable[[str], Principal]
"""The principal of a credential; raises Refusal."""


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """An issuer's settings, with its keys; where it has them, the accounts of its tokens and who says if they count."""

    settings: Issuer
    keys: KeySet
    accounts: WatchedFile[Mapping[str, str]] | None = None
    introspection: Introspection | None = None


class _Unverified(NamedTuple):
    """The header and the claims of a token before its signature is verified: only to find its key, and for the log."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]

    @property
    def algorithm(self) -> str:
        return str(self.header.get("alg"))


class Tokens:
    """Validates access tokens, and other credentials that are shown in their place.

    `others` judge credentials that are no JWTs, by what these begin with.
    """

    def __init__(
        self,
        issuers: Sequence[TrustedIssuer],
        *,
        others: Mapping[str, Judge] = MappingProxyType({}),
    ) -> None:
        self._issuers = issuers
        self._others = others
        self._log = RefusalLog()

    async def principal(self, token: str) -> Principal:
        """The principal of the token. The reason of a refusal is in the log.

        Raises Unauthenticated for a token that is not valid, InvalidArgument for one without username claim, Forbidden
        for one whose username is no account that it may stand for, BackendUnavailable when its issuer's keys cannot be
        had, or when it does not say whether the token is active.
        """
        try:
            for beginning, judge in self._others.items():
                if token.startswith(beginning):
                    return judge(token)
            return await self._accepted(token)
        except Refusal as refusal:
            self._log.write(refusal)
            raise refusal.error from None

    async def _accepted(self, token: str) -> Principal:
        unverified = _read(token)
        signer, key = await self._signer(unverified)
        issuer = signer.settings
        claims = _verified(token, issuer, key, unverified)
        require_token_type(unverified.header, claims, issuer)
        require_client(claims, issuer)
        who = identity(claims, issuer, signer.accounts.content if signer.accounts else None)
        if signer.introspection is not None:
            await signer.introspection.require_active(token)
        return Principal(
            username=who.username,
            issuer=str(claims.get("iss", "")),
            subject=str(claims.get("sub", "")),
            scopes=who.scopes,
            limits=who.limits,
            expires=min(int(claims["exp"]), _LAST_SECOND),
            client_id=str(claims.get("azp") or claims.get("client_id") or ""),
        )

    async def _signer(self, unverified: _Unverified) -> tuple[TrustedIssuer, Key]:
        unavailable: BackendUnavailable | None = None
        candidates = self._candidates(unverified)
        kid = unverified.header.get("kid")
        for issuer in candidates:
            try:
                key = await issuer.keys.find(kid, unverified.algorithm)
            except BackendUnavailable as error:
                unavailable = error
                continue
            if key is not None:
                return issuer, key
        unknown = Unauthenticated("Token's public key not found.")
        names = [issuer.keys.name for issuer in candidates]
        raise unavailable or Refusal(
            unknown, "kid", kid, f"a key for {unverified.algorithm} of {names}"
        )

    def _candidates(self, unverified: _Unverified) -> list[TrustedIssuer]:
        """The issuers the token may be from: the one it names, or else those that are accepted unnamed."""
        value = unverified.claims.get("iss")
        named = [issuer for issuer in self._issuers if issuer.settings.issuer is not None]
        issuers = [issuer for issuer in named if issuer.settings.issuer == value]
        issuers = issuers or [issuer for issuer in self._issuers if issuer.settings.any_issuer]
        if not issuers:
            raise _invalid("iss", value, [issuer.settings.issuer for issuer in named])
        capable = [
            issuer for issuer in issuers if unverified.algorithm in issuer.settings.algorithms
        ]
        if not capable:
            raise _invalid("alg", unverified.algorithm, [i.settings.algorithms for i in issuers])
        return capable


def _read(token: str) -> _Unverified:
    if len(token) > _MAX_TOKEN:
        raise _invalid("length", len(token), _MAX_TOKEN)
    try:
        whole = jwt.decode_complete(token, options={"verify_signature": False})
        # JSON can escape half a surrogate pair (RFC 8259 §8.2), which cannot be encoded when the claims are sent on.
        json.dumps(whole["payload"], ensure_ascii=False).encode()
        for part in token.split(".")[:2]:
            json.loads(base64url_decode(part), object_pairs_hook=_each_name_once)
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise _invalid("form", type(error).__name__, "a signed JWT") from None
    return _Unverified(whole["header"], whole["payload"])


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """RFC 7519 §4: programs differ in which of two members with one name counts. Raises ValueError."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name stands twice")
    return members


def _verified(token: str, issuer: Issuer, key: Key, unverified: _Unverified) -> Mapping[str, Any]:
    """The claims of a token whose signature and dates are right. Its algorithm is one that `key` may verify."""
    try:
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key.public,
            algorithms=[unverified.algorithm],
            audience=issuer.audience or None,
            issuer=issuer.issuer,
            leeway=issuer.clock_skew,
            options={"require": ["exp"], "verify_aud": not issuer.any_audience},
        )
    except jwt.ExpiredSignatureError:
        raise _expired(unverified.claims) from None
    except (jwt.InvalidTokenError, ValueError, TypeError) as error:
        raise _refusal_of(error, issuer, unverified) from None
    for name in _DATES:  # RFC 7519 §2; the library takes "1" and True, too
        if type(claims.get(name, 0)) not in (int, float):
            raise _invalid(name, claims[name], "a number of seconds")
    left = int(claims["exp"]) - time.time()
    if left <= 0:  # the leeway is for the issuer's clock running ahead only
        raise _expired(claims)
    if left < issuer.min_token_life:
        limit = issuer.min_token_life
        answer = f"Access token expires too soon (less than {limit}s remaining)."
        raise Refusal(
            Unauthenticated(answer), "exp", f"in {left:.0f} s", f"{limit} s (`min_token_life`)"
        )
    return claims


def _refusal_of(error: Exception, issuer: Issuer, unverified: _Unverified) -> Refusal:
    """The refusal for an error of the JWT library, in terms of the token and of the configuration."""
    match error:
        case jwt.InvalidAudienceError() | jwt.MissingRequiredClaimError(claim="aud"):
            return _invalid("aud", unverified.claims.get("aud"), issuer.audience)
        case jwt.InvalidIssuerError():
            return _invalid("iss", unverified.claims.get("iss"), issuer.issuer)
        case jwt.ImmatureSignatureError():
            claim = "nbf" if _ahead(unverified, "nbf") > issuer.clock_skew else "iat"
            value = f"{_ahead(unverified, claim):.0f} s in the future"
            return _invalid(claim, value, f"at most {issuer.clock_skew} s: compare the clocks")
        case jwt.MissingRequiredClaimError():
            return _invalid("exp", None, "a date")
        case jwt.InvalidSignatureError():
            return _invalid(
                "signature", "wrong", f"one by the key {unverified.header.get('kid')!r}"
            )
    return _invalid("form", str(error), "a JWT as in RFC 7519")


def _ahead(unverified: _Unverified, claim: str) -> float:
    """How many seconds a date of the token lies in the future."""
    try:
        return float(unverified.claims[claim]) - time.time()
    except (KeyError, TypeError, ValueError):
        return 0.0


def _invalid(claim: str, value: Any, expected: Any) -> Refusal:
    return Refusal(Unauthenticated("Access token is invalid."), claim, value, expected)


def _expired(claims: Mapping[str, Any]) -> Refusal:
    return Refusal(
        Unauthenticated("Access token expired"), "exp", claims.get("exp"), "a later date"
    )

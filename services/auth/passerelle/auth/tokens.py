"""Validates access tokens: JWTs signed by one of the configured issuers (RFC 7519, RFC 8725).

The messages are FirecREST's, word for word: its profile shows them as they are.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from passerelle.auth.config import Issuer
from passerelle.auth.keyset import Key, KeySet
from passerelle.auth.principal import Principal
from passerelle.runtime.errors import (
    BackendUnavailable,
    Forbidden,
    InvalidArgument,
    Unauthenticated,
)

_MAX_TOKEN = 64 << 10  # characters; metadata may be twice that
_LAST_SECOND = 253402300799  # of the year 9999, where google.protobuf.Timestamp ends
# A POSIX portable account name (IEEE 1003.1 §3.426) that starts like a name; `$` ends those of machines.
_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?")


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """An issuer's settings, with its keys."""

    settings: Issuer
    keys: KeySet


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a token says about itself before anything is verified; good for finding its key, for nothing else."""

    issuer: Any
    kid: str | None
    algorithm: str


class Tokens:
    """Finds out who an access token stands for."""

    def __init__(self, issuers: Sequence[TrustedIssuer]) -> None:
        self._issuers = issuers

    async def principal(self, token: str) -> Principal:
        """Who the token stands for.

        Raises Unauthenticated for a token that is not valid, InvalidArgument for one without username claim, Forbidden
        for one whose username is no account name, BackendUnavailable when its issuer's keys cannot be had.
        """
        claim = _read(token)
        issuer, key = await self._signer(claim)
        claims = _verified(token, issuer, key, claim.algorithm)
        return Principal(
            username=_username(claims, issuer),
            issuer=str(claims.get("iss", "")),
            subject=str(claims.get("sub", "")),
            scopes=_scopes(claims),
            expires=min(int(claims["exp"]), _LAST_SECOND),
        )

    async def _signer(self, claim: _Claim) -> tuple[Issuer, Key]:
        candidates = self._candidates(claim)
        if not candidates:
            raise _invalid()
        away: BackendUnavailable | None = None
        for issuer in candidates:
            try:
                key = await issuer.keys.find(claim.kid, claim.algorithm)
            except BackendUnavailable as error:
                away = error
                continue
            if key is not None:
                return issuer.settings, key
        raise away or Unauthenticated("Token's public key not found.")

    def _candidates(self, claim: _Claim) -> list[TrustedIssuer]:
        """The issuers the token may be from: the one it names, or else those that are accepted unnamed."""
        able = [issuer for issuer in self._issuers if claim.algorithm in issuer.settings.algorithms]
        named = [
            issuer
            for issuer in able
            if issuer.settings.issuer is not None and issuer.settings.issuer == claim.issuer
        ]
        return named or [issuer for issuer in able if issuer.settings.any_issuer]


def _read(token: str) -> _Claim:
    if len(token) > _MAX_TOKEN:
        raise _invalid()
    try:
        whole = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        raise _invalid() from None
    header = whole["header"]
    return _Claim(whole["payload"].get("iss"), header.get("kid"), str(header.get("alg")))


def _verified(token: str, issuer: Issuer, key: Key, algorithm: str) -> Mapping[str, Any]:
    """The claims of a token whose signature and dates are right. `algorithm` is one that `key` may verify."""
    try:
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key.public,
            algorithms=[algorithm],
            audience=issuer.audience or None,
            issuer=issuer.issuer,
            leeway=issuer.clock_skew,
            options={"require": ["exp"], "verify_aud": bool(issuer.audience)},
        )
    except jwt.ExpiredSignatureError:
        raise _expired() from None
    except (jwt.InvalidTokenError, ValueError, TypeError):
        raise _invalid() from None
    left = int(claims["exp"]) - time.time()
    if left <= 0:  # the leeway is for the issuer's clock running ahead only
        raise _expired()
    if left < issuer.min_token_life:
        raise Unauthenticated(
            f"Access token expires too soon (less than {issuer.min_token_life}s remaining)."
        )
    return claims


def _username(claims: Mapping[str, Any], issuer: Issuer) -> str:
    name = claims.get(issuer.username_claim)
    if name is None or name == "":
        raise InvalidArgument(f"Authentication token '{issuer.username_claim}' claim is missing")
    if not isinstance(name, str) or not _ACCOUNT.fullmatch(name):
        raise Forbidden(
            f"The access token's '{issuer.username_claim}' claim is not a valid account name."
        )
    if name.lower() == "root" and not issuer.allow_root:
        raise Forbidden("The account root may not be used.")
    return name


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """From `scope` (RFC 9068) or `scp` (Microsoft Entra), each a list or words in one text."""
    found = claims.get("scope", claims.get("scp", ""))
    words = found.split() if isinstance(found, str) else found
    return frozenset(str(word) for word in words) if isinstance(words, list) else frozenset()


def _invalid() -> Unauthenticated:
    return Unauthenticated("Access token is invalid.")


def _expired() -> Unauthenticated:
    return Unauthenticated("Access token expired")

"""Whether a token of a known issuer is of the type that is accepted from it, and whoever bears it may use it.

An issuer signs other things with the same keys: ID tokens, refresh tokens, logout tokens, DPoP proofs. RFC 8725 §3.11
and RFC 9068 §4 tell them apart by the header's `typ`; issuers that came earlier do it by claims.
"""

from collections.abc import Mapping
from typing import Any

from passerelle.auth.tokens.issuer import Issuer
from passerelle.auth.tokens.refusals import Refusal
from passerelle.runtime.errors import Unauthenticated

_HEADER_TYPES = ("jwt", "at+jwt")
_CLAIMED_TYPES = ("bearer", "access", "access_token", "at+jwt", "jwt")
# `typ` is Keycloak's, `token_use` Amazon Cognito's.
_TYPE_CLAIMS = ("typ", "token_use", "token_type")
# OpenID Connect Core §2 and §3.3.2.11 (hashes that ID tokens have), Back-Channel Logout §2.4 and RFC 8417 (`events`).
_FOREIGN_CLAIMS = ("at_hash", "c_hash", "s_hash", "events")
# RFC 9068 §2.2, OpenID Connect Core §2, Okta, Microsoft Entra.
_CLIENT_CLAIMS = ("azp", "client_id", "cid", "appid")


def require_token_type(
    header: Mapping[str, Any], claims: Mapping[str, Any], issuer: Issuer
) -> None:
    """Raises Refusal for a token of another type than the issuer's, and for one bound to a key (RFC 7800 `cnf`).

    A bound token counts only with a proof of that key (RFC 9449, RFC 8705), which is not checked here.
    """
    _require_type("header typ", header.get("typ"), _HEADER_TYPES)
    if claims.get("cnf") is not None:
        raise _refused("cnf", claims["cnf"], "bearer tokens; this one is bound to a key")
    if issuer.id_tokens:
        _require_id_token(claims)
    else:
        _require_access_token(header, claims)


def _require_id_token(claims: Mapping[str, Any]) -> None:
    """OpenID Connect Core §2: the types of other tokens stand in claims; a logout token has `events`."""
    for name in _TYPE_CLAIMS:
        _require_type(name, claims.get(name), ("id", "id_token", "jwt"))
    if "events" in claims:
        raise _refused("events", "there", "an ID token, which has none")


def _require_access_token(header: Mapping[str, Any], claims: Mapping[str, Any]) -> None:
    for name in _TYPE_CLAIMS:
        _require_type(name, claims.get(name), _CLAIMED_TYPES)
    for name in _FOREIGN_CLAIMS:
        if name in claims:
            raise _refused(name, "there", "an access token, which has none")
    if "nonce" in claims and not _claims_access(header, claims):
        raise _refused("nonce", "there, and no scope", "an access token; this is an ID token")


def require_client(claims: Mapping[str, Any], issuer: Issuer) -> None:
    """Raises Refusal for a token that was issued to a client which `issuer` does not list, if it lists any."""
    if not issuer.clients:
        return
    named = {name: claims[name] for name in _CLIENT_CLAIMS if name in claims}
    if not named or any(client not in issuer.clients for client in named.values()):
        raise _refused("azp", named or None, issuer.clients)


def _require_type(name: str, value: Any, accepted: tuple[str, ...]) -> None:
    """RFC 7515 §4.1.9: compared without regard to case, and `application/` may be left out."""
    if value is None:
        return
    if not isinstance(value, str) or value.lower().removeprefix("application/") not in accepted:
        raise _refused(name, value, accepted)


def _claims_access(header: Mapping[str, Any], claims: Mapping[str, Any]) -> bool:
    """Whether anything in it says that it is an access token. Keycloak before 24 put a `nonce` into those, too."""
    own = str(header.get("typ")).lower().endswith("at+jwt")
    return own or any(name in claims for name in (*_TYPE_CLAIMS, "scope", "scp"))


def _refused(claim: str, value: Any, expected: Any) -> Refusal:
    return Refusal(Unauthenticated("Access token is invalid."), claim, value, expected)

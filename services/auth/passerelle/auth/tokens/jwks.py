"""Reads an issuer's keys: OpenID Connect Discovery 1.0 §4 for the address, RFC 7517 for the keys."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp
import jwt
import orjson
from jwt.algorithms import get_default_algorithms

from passerelle.auth.tokens.http_replies import body_of
from passerelle.auth.tokens.issuer import Issuer
from passerelle.auth.tokens.keyset import Key, SourceFailed

log = logging.getLogger(__name__)

_MAX_BYTES = 1 << 20

# Which algorithms a key of a type and curve can verify (RFC 7518 §3.1, RFC 8037 §3.1). No symmetric keys.
_FITTING: Mapping[tuple[str, str | None], tuple[str, ...]] = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("OKP", "Ed448"): ("EdDSA",),
}


class PublishedKeys:
    """The JWK set of one configured issuer; see `KeySource`."""

    def __init__(self, http: aiohttp.ClientSession, issuer: Issuer) -> None:
        self.name = issuer.issuer or issuer.jwks_uri or ""
        self._http = http
        self._issuer = issuer

    async def keys(self) -> tuple[Key, ...]:
        """See `KeySource.keys`."""
        try:
            async with asyncio.timeout(self._issuer.timeout):
                address = self._issuer.jwks_uri or await self._discovered()
                keys = keys_of(await self._json(address))
        except TimeoutError:
            raise SourceFailed(f"no answer within {self._issuer.timeout:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise SourceFailed(str(error) or type(error).__name__) from None
        if not keys:
            raise SourceFailed("it publishes no key that can verify a signature")
        return keys

    async def _discovered(self) -> str:
        issuer = str(self._issuer.issuer)
        document = await self._json(issuer.rstrip("/") + "/.well-known/openid-configuration")
        if document.get("issuer") != issuer:  # Discovery §4.3 requires it
            raise ValueError(f"its discovery document is about {document.get('issuer')!r}")
        address = document.get("jwks_uri")
        if not isinstance(address, str):
            raise ValueError("its discovery document has no jwks_uri")
        if not self._issuer.may_read(address):
            raise ValueError(f"its discovery document has an unsafe jwks_uri: {address}")
        return address

    async def _json(self, address: str) -> Mapping[str, Any]:
        parts = urlsplit(address)
        if parts.scheme == "file":
            data = await asyncio.to_thread(_file, unquote(parts.path))
        else:
            data = await self._get(address)
        document = orjson.loads(data)
        if not isinstance(document, dict):
            raise ValueError("not a JSON object")
        return document

    async def _get(self, address: str) -> bytes:
        async with self._http.get(address, headers={"accept": "application/json"}) as reply:
            for redirect in (*reply.history, reply)[1:]:
                if not self._issuer.may_read(str(redirect.url)):
                    raise ValueError(f"{address} redirects to an unsafe address: {redirect.url}")
            reply.raise_for_status()
            return await body_of(reply)


def keys_of(document: Mapping[str, Any]) -> tuple[Key, ...]:
    """The keys of a JWK set that can verify signatures; others (encryption, symmetric, unknown) are left out.

    RFC 7517 §5 asks for that: sets may hold keys that this reader does not understand.
    """
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise ValueError("not a JWK set")
    return tuple(key for entry in entries if isinstance(entry, dict) and (key := _key(entry)))


def jwk_set(keys: Iterable[Key]) -> dict[str, Any]:
    """The keys as a JWK set again, for another reader."""
    return {"keys": [_entry(key) for key in keys]}


def _entry(key: Key) -> dict[str, Any]:
    names = sorted(key.algorithms)
    entry: dict[str, Any] = get_default_algorithms()[names[0]].to_jwk(key.public, as_dict=True)
    entry["use"] = "sig"
    if key.kid is not None:
        entry["kid"] = key.kid
    if len(names) == 1:
        entry["alg"] = names[0]
    return entry


def _key(entry: dict[str, Any]) -> Key | None:
    kid, kty, curve = entry.get("kid"), entry.get("kty"), entry.get("crv")
    algorithms = _FITTING.get((str(kty), None if kty == "RSA" else str(curve)), ())
    if "alg" in entry:
        algorithms = tuple(name for name in algorithms if name == entry["alg"])
    if not algorithms or entry.get("use", "sig") != "sig":
        return None
    if "d" in entry:
        log.error("an issuer publishes the private key %r; it is not used", kid)
        return None
    algorithm = get_default_algorithms()[algorithms[0]]
    try:
        public = algorithm.from_jwk(entry)
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        log.warning("key %r cannot be read: %s", kid, error)
        return None
    if weak := algorithm.check_key_length(public):
        log.warning("key %r is not used: %s", kid, weak)
        return None
    return Key(kid if isinstance(kid, str) else None, frozenset(algorithms), public)


def _file(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(_MAX_BYTES)

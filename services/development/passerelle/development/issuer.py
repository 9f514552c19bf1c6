"""A small OIDC identity provider: discovery, keys, and tokens for its configured clients. On loopback only.

Formats: OpenID Connect Discovery 1.0, RFC 7517 (keys), RFC 6749 §4.4 (client credentials), RFC 9068 (access tokens).
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote_plus

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import RSAAlgorithm

from passerelle.development.config import ISSUER_KEY, Client, DevelopmentIssuer
from passerelle.development.keys import kept_key
from passerelle.runtime.serving.sockets import listening

_MAX_REQUEST = 16 << 10  # bytes
_NOT_STORED = {"Cache-Control": "no-store"}


class _Refused(Exception):
    """A token request that gets no token: an error code of RFC 6749 §5.2, and a description for people."""

    def __init__(self, code: str, why: str, status: int = 400) -> None:
        super().__init__(code)
        self.body = {"error": code, "error_description": why}
        self.status = status


class Issuer:
    """The provider. `url` is its identifier: the tokens' `iss`, and the base of its addresses."""

    def __init__(self, settings: DevelopmentIssuer, url: str) -> None:
        self._settings = settings
        self._url = url
        self._clients = {client.id: client for client in settings.clients}
        key = kept_key(settings.key_file, ISSUER_KEY, "development.issuer.key_file")
        pem = key.export_private_key("pkcs8-pem")
        self._key = load_pem_private_key(pem, None)
        self._jwk = _public_jwk(self._key)

    def routes(self) -> Sequence[web.RouteDef]:
        """Its routes."""
        return (
            web.get("/.well-known/openid-configuration", self._discovery),
            web.get("/jwks", self._jwks),
            web.post("/token", self._token),
        )

    async def _discovery(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self._url,
                "token_endpoint": f"{self._url}/token",
                "jwks_uri": f"{self._url}/jwks",
                "response_types_supported": ["token"],
                "grant_types_supported": ["client_credentials"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "token_endpoint_auth_methods_supported": [
                    "client_secret_basic",
                    "client_secret_post",
                ],
            }
        )

    async def _jwks(self, _: web.Request) -> web.Response:
        return web.json_response({"keys": [self._jwk]})

    async def _token(self, request: web.Request) -> web.Response:
        try:
            form = await _form(request)
            client = self._authenticate(request, form)
            if form.get("grant_type") != "client_credentials":
                raise _Refused("unsupported_grant_type", "Only client_credentials is offered.")
        except _Refused as refused:
            headers = {"WWW-Authenticate": "Basic"} if refused.status == 401 else {}
            return web.json_response(
                refused.body, status=refused.status, headers=_NOT_STORED | headers
            )
        return web.json_response(self._grant(client, form.get("scope")), headers=_NOT_STORED)

    def _authenticate(self, request: web.Request, form: Mapping[str, str]) -> Client:
        """The client whose secret the request has, in the header or the body (RFC 6749 §2.3.1)."""
        header = request.headers.get("authorization")
        if header is not None and "client_secret" in form:
            raise _Refused("invalid_request", "Two ways of client authentication at once.")
        if header is not None:
            name, secret = _basic(header)
        else:
            name, secret = form.get("client_id", ""), form.get("client_secret", "")
        client = self._clients.get(name)
        expected = client.secret.get_secret_value() if client else secrets.token_hex()
        if not hmac.compare_digest(secret.encode(), expected.encode()) or client is None:
            raise _Refused("invalid_client", "Unknown client or wrong secret.", 401)
        return client

    def _grant(self, client: Client, requested: str | None) -> dict[str, Any]:
        """A token reply; of the scopes asked for, those that the client has (RFC 6749 §3.3 allows that)."""
        scopes = client.scopes if requested is None else requested.split()
        now = int(time.time())
        claims = {
            "iss": self._url,
            "sub": client.id,
            "client_id": client.id,
            "aud": self._settings.audience,
            "iat": now,
            "nbf": now,
            "exp": now + self._settings.token_life,
            "jti": secrets.token_hex(16),
            "preferred_username": client.username,
            "scope": " ".join(scope for scope in client.scopes if scope in scopes),
        }
        headers = {"kid": self._jwk["kid"], "typ": "at+jwt"}
        token = jwt.encode(claims, self._key, algorithm="RS256", headers=headers)  # type: ignore[arg-type]
        return {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": self._settings.token_life,
            "scope": claims["scope"],
        }


@asynccontextmanager
async def serving_issuer(settings: DevelopmentIssuer) -> AsyncIterator[int]:
    """The provider, answering inside the block; yields its port."""
    host = settings.listen.rpartition(":")[0]
    with listening(settings.listen) as acceptor:
        bound: int = acceptor.getsockname()[1]
        application = web.Application(client_max_size=_MAX_REQUEST)
        application.add_routes(Issuer(settings, f"http://{host}:{bound}").routes())
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        try:
            await web.SockSite(runner, acceptor).start()
            yield bound
        finally:
            await runner.cleanup()


async def _form(request: web.Request) -> dict[str, str]:
    if request.content_type != "application/x-www-form-urlencoded":
        raise _Refused("invalid_request", "The body must be application/x-www-form-urlencoded.")
    form = await request.post()
    values = {name: value for name, value in form.items() if isinstance(value, str)}
    if len(values) != len(form):
        raise _Refused("invalid_request", "A parameter is given twice.")
    if not values.get("grant_type"):
        raise _Refused("invalid_request", "The parameter grant_type is missing.")
    return values


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    try:
        name, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        name, colon, secret = "", "", ""
    if scheme.lower() != "basic" or not colon:
        raise _Refused("invalid_client", "The Authorization header cannot be read.", 401)
    return unquote_plus(name), unquote_plus(secret)


def _public_jwk(key: Any) -> dict[str, Any]:
    """The key's public half; its id is its RFC 7638 thumbprint, so that it stays the same over restarts."""
    if not isinstance(key, RSAPrivateKey):
        raise TypeError("an RSA key is needed")
    jwk = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    members = json.dumps({name: jwk[name] for name in ("e", "kty", "n")}, separators=(",", ":"))
    digest = hashlib.sha256(members.encode()).digest()
    kid = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return {
        "kty": "RSA",
        "n": jwk["n"],
        "e": jwk["e"],
        "kid": kid,
        "use": "sig",
        "alg": "RS256",
    }

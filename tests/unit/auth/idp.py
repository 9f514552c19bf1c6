"""An identity provider for tests: a real HTTP server whose keys, answers and presence the test controls."""

import base64
import hashlib
import hmac
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms


class SigningKey:
    """A private key with its id and algorithm."""

    def __init__(self, kid: str, algorithm: str = "ES256") -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.private: Any
        if algorithm == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
        elif algorithm.startswith("ES"):
            self.private = ec.generate_private_key(ec.SECP256R1())
        else:
            self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def jwk(self) -> dict[str, Any]:
        """The public half, as published."""
        public = self.private.public_key()
        result: Any = get_default_algorithms()[self.algorithm].to_jwk(public, as_dict=True)
        return {**result, "kid": self.kid, "use": "sig"}

    @property
    def pem(self) -> bytes:
        """The public half in PEM."""
        result: bytes = self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return result

    def token(self, algorithm: str | None = None, kid: Any = ..., **claims: Any) -> str:
        """A token with these claims, those that are None left out."""
        headers = {"kid": self.kid} if kid is ... else {"kid": kid} if kid is not None else {}
        claims_with_values = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(
            claims_with_values, self.private, algorithm=algorithm or self.algorithm, headers=headers
        )


def forged(header: dict[str, Any], claims: dict[str, Any], secret: bytes | None = None) -> str:
    """A token that no library would make: unsigned, or signed by HMAC with `secret`."""
    body = ".".join(_coded(json.dumps(part).encode()) for part in (header, claims))
    signature = hmac.new(secret, body.encode(), hashlib.sha256).digest() if secret else b""
    return f"{body}.{_coded(signature)}"


def _coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Idp:
    """The provider; `keys` are those it publishes, `fetched` counts how often they were asked for."""

    def __init__(self) -> None:
        self.key = SigningKey("first")
        self.keys = [self.key]
        self.fetched = 0
        self.port = 0
        self.claimed_issuer: str | None = None
        self.revoked: set[str] = set()
        self.introspected: list[str | None] = []
        """Who asked about tokens: the `Authorization` headers."""
        self.introspection: dict[str, Any] = {}
        """How it answers about tokens, if not truthfully: the arguments of the response."""
        self.broken = False
        self.tls: ssl.SSLContext | None = None
        self.keys_at: str | None = None
        """Where its discovery document says that the keys are, when it is not here."""

    @property
    def url(self) -> str:
        """Its issuer identifier."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def claims(self, **changed: Any) -> dict[str, Any]:
        """The claims of a good token of alice, with changes; None takes a claim away."""
        now = int(time.time())
        good = {"iss": self.url, "sub": "a-1", "exp": now + 300, "iat": now}
        good |= {"preferred_username": "alice", "scope": "jobs.read files.read"}
        return {name: value for name, value in (good | changed).items() if value is not None}

    def token(self, **changed: Any) -> str:
        """A good token of alice, with changes."""
        return self.key.token(**self.claims(**changed))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Answer inside the block; a second time on the same port, so that it can go away and come back."""
        application = web.Application()
        application.router.add_get("/.well-known/openid-configuration", self._discovery)
        application.router.add_get("/jwks", self._jwks)
        application.router.add_get("/elsewhere", self._elsewhere)
        application.router.add_post("/introspect", self._introspect)
        runner = web.AppRunner(application, shutdown_timeout=0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=self.tls).start()
            self.port = runner.addresses[0][1]
            yield
        finally:
            await runner.cleanup()

    async def _discovery(self, _: web.Request) -> web.Response:
        issuer = self.claimed_issuer or self.url
        return web.json_response({"issuer": issuer, "jwks_uri": self.keys_at or f"{self.url}/jwks"})

    async def _elsewhere(self, request: web.Request) -> web.Response:
        raise web.HTTPFound(request.query["to"])

    async def _introspect(self, request: web.Request) -> web.Response:
        """RFC 7662 §2.2."""
        token = (await request.post())["token"]
        self.introspected.append(request.headers.get("authorization"))
        if self.introspection:
            return web.Response(**self.introspection)
        return web.json_response({"active": token not in self.revoked})

    async def _jwks(self, _: web.Request) -> web.Response:
        self.fetched += 1
        if self.broken:
            return web.json_response({"error": "try later"}, status=500)
        return web.json_response({"keys": [key.jwk for key in self.keys]})

"""A test issuer: signs access tokens with a key of its own and publishes it as OpenID Connect demands."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

KEY_ID = "compat-key"


@dataclass(frozen=True)
class Issuer:
    """Signs tokens (RS256); `url` is the `iss` claim and where discovery is served, if anywhere."""

    url: str
    key: rsa.RSAPrivateKey

    @classmethod
    def new(cls, url: str) -> "Issuer":
        """An issuer with a fresh key."""
        return cls(url, rsa.generate_private_key(public_exponent=65537, key_size=2048))

    def token(self, user: str, *, key_id: str = KEY_ID, lifetime: int = 3600, **claims: Any) -> str:
        """A signed token of `user` that lives `lifetime` seconds; a claim given as None is left out."""
        now = int(time.time())
        standard = {
            "iss": self.url,
            "sub": user,
            "preferred_username": user,
            "email": f"{user}@example.org",
            "given_name": user.title(),  # FirecREST v2 answers 500 without the two names
            "family_name": "Example",
            "iat": now,
            "exp": now + lifetime,
        }
        body = {name: value for name, value in (standard | claims).items() if value is not None}
        return jwt.encode(body, self.key, algorithm="RS256", headers={"kid": key_id})

    def jwks(self) -> dict[str, Any]:
        """The public key as a JSON Web Key Set."""
        key = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {"keys": [key | {"kid": KEY_ID, "use": "sig", "alg": "RS256"}]}

    def documents(self) -> dict[str, Any]:
        """The issuer's published documents: path below `url` -> JSON."""
        discovery = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            "token_endpoint": f"{self.url}/token",
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
        }
        return {"/.well-known/openid-configuration": discovery, "/jwks": self.jwks()}


@contextmanager
def published_issuer() -> Iterator[Issuer]:
    """An issuer whose discovery document and keys are served on a free loopback port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Endpoint) as server:
        issuer = Issuer.new(f"http://127.0.0.1:{server.server_port}")
        _Endpoint.issuer = issuer
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()


class _Endpoint(BaseHTTPRequestHandler):
    issuer: Issuer

    def do_GET(self) -> None:
        """Answer with the document of this path, or 404."""
        result = self.issuer.documents().get(self.path)
        self._answer(200 if result else 404, result)

    def do_POST(self) -> None:
        """The token endpoint: a client's token is that of the user with the client's id."""
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        token = self.issuer.token(form["client_id"][0], email=None)
        self._answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": 3600})

    def _answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: pytest's output is for results."""

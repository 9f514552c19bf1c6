"""The known attacks on JWTs (RFC 8725, and what libraries were found to do), through the real service."""

import base64
import datetime
import json
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc import StatusCode

from tests.unit.auth.conftest import Auth, serving_auth
from tests.unit.auth.idp import Idp, SigningKey, forged

INVALID = (StatusCode.UNAUTHENTICATED, "Access token is invalid.")
NO_KEY = (StatusCode.UNAUTHENTICATED, "Token's public key not found.")


def signed(key: SigningKey, header: dict[str, Any], body: bytes) -> str:
    """A token of any header and any body, with a true signature."""
    text = ".".join(coded(part) for part in (json.dumps({"alg": "ES256", **header}).encode(), body))
    signature = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(
        text.encode(), key.private
    )
    return f"{text}.{coded(signature)}"


def coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "nOnE", "", "HS256", "HS512", "ES256K"]
)
async def test_another_algorithm(idp: Idp, auth: Auth, algorithm: str) -> None:
    for secret in (None, b"", idp.key.pem, json.dumps(idp.key.jwk).encode()):
        token = forged({"alg": algorithm, "kid": "first"}, idp.claims(), secret)
        assert await auth.refusal(token) == INVALID


@pytest.mark.parametrize("signature", [b"", bytes(64), b"\0" * 63 + b"\1", b"\xff" * 64, b"x" * 70])
async def test_signatures_that_anybody_can_make(idp: Idp, auth: Auth, signature: bytes) -> None:
    head, body, _ = idp.token().split(".")
    assert await auth.refusal(f"{head}.{body}.{coded(signature)}") == INVALID


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null",
        "/etc/passwd",
        "' OR 1=1 --",
        "first\0",
        "FIRST",
        " first",
        "x" * 4000,
    ],
)
async def test_a_key_id_opens_no_file_and_no_database(idp: Idp, auth: Auth, kid: str) -> None:
    for secret in (b"", idp.key.pem):
        assert (
            await auth.refusal(forged({"alg": "HS256", "kid": kid}, idp.claims(), secret))
            == INVALID
        )
    assert await auth.refusal(SigningKey("x").token(kid=kid, **idp.claims())) == NO_KEY


@pytest.mark.parametrize("kid", [7, ["first"], {"first": 1}, True, None])
async def test_a_key_id_that_is_no_text(idp: Idp, auth: Auth, kid: Any) -> None:
    token = signed(SigningKey("x"), {"kid": kid}, json.dumps(idp.claims()).encode())
    assert (await auth.refusal(token))[0] is StatusCode.UNAUTHENTICATED


async def test_a_token_brings_no_key_of_its_own(idp: Idp, auth: Auth) -> None:
    """`jwk`, `x5c`, `jku` and `x5u` (RFC 7515 §4.1): what they lead to is never used, nor asked for."""
    asked: list[str] = []

    async def key(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({"keys": [own.jwk]})

    own = SigningKey("first")
    application = web.Application()
    application.router.add_get("/{any:.*}", key)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        for header in (
            {"jwk": own.jwk},
            {"jku": f"{url}/jwks"},
            {"x5u": f"{url}/cert.pem"},
            {"x5c": [coded(_certificate(own))]},
            {"iss": url},
        ):
            for kid in ({"kid": "first"}, {"kid": "other"}, {}):
                token = signed(own, header | kid, json.dumps(idp.claims()).encode())
                assert (await auth.refusal(token))[0] is StatusCode.UNAUTHENTICATED
    finally:
        await runner.cleanup()
    assert asked == []


def _certificate(key: SigningKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "idp")])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.private.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    return builder.sign(key.private, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


async def test_a_name_that_stands_twice(idp: Idp, auth: Auth) -> None:
    """RFC 7519 §4: programs differ in which of the two counts, so none does, even if the signature is right."""
    claims = json.dumps(idp.claims(preferred_username="alice"))
    twice = claims.replace('"sub"', '"preferred_username": "bob", "sub"')
    for body in (
        twice,
        claims[:-1] + ', "exp": 99999999999}',
        claims[:-1] + ', "act": {"a": 1, "a": 2}}',
    ):
        assert await auth.refusal(signed(idp.key, {"kid": "first"}, body.encode())) == INVALID
    whole = signed(idp.key, {"kid": "first"}, claims.encode())
    assert (await auth.authorize(whole)).username == "alice"
    head = b'{"alg": "none", "alg": "ES256", "kid": "first"}'
    text = f"{coded(head)}.{coded(claims.encode())}"
    algorithm = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256)
    signature = coded(algorithm.sign(text.encode(), idp.key.private))
    assert await auth.refusal(f"{text}.{signature}") == INVALID


async def test_a_token_in_a_token(idp: Idp, auth: Auth) -> None:
    inner = idp.token()
    for body in (inner, json.dumps(inner), json.dumps([inner]), json.dumps({"jwt": inner})):
        header = {"kid": "first", "cty": "JWT"}
        assert (await auth.refusal(signed(idp.key, header, body.encode()))) == INVALID


@pytest.mark.parametrize(
    "change", [".{}", "{}.", "{}..", "{}.x.y", " {}", "{} ", "{}\n", "{}=", "Bearer {}"]
)
async def test_a_token_with_something_around_it(idp: Idp, auth: Auth, change: str) -> None:
    assert (await auth.refusal(change.format(idp.token())))[0] is StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["b64"], "b64": False},
        {"crit": []},
        {"crit": ["exp"]},
        {"enc": "A128GCM", "alg": "dir"},
    ],
)
async def test_what_has_to_be_understood_and_is_not(
    idp: Idp, auth: Auth, header: dict[str, Any]
) -> None:
    token = signed(idp.key, {"kid": "first"} | header, json.dumps(idp.claims()).encode())
    assert await auth.refusal(token) == INVALID


async def test_another_issuers_key(idp: Idp) -> None:
    """Each of two trusted issuers signs for itself alone; the same subject at both is two principals."""
    other = Idp()
    other.key = SigningKey("first")
    other.keys = [other.key]
    async with other.serving(), serving_auth({"issuer": idp.url}, {"issuer": other.url}) as auth:
        ours, theirs = await auth.authorize(idp.token()), await auth.authorize(other.token())
        assert (ours.subject, theirs.subject, ours.username) == ("a-1", "a-1", theirs.username)
        assert (ours.issuer, theirs.issuer) == (idp.url, other.url)
        assert await auth.refusal(other.key.token(**idp.claims())) == INVALID
        assert await auth.refusal(idp.key.token(**other.claims())) == INVALID


async def test_a_key_of_another_curve(idp: Idp, auth: Auth) -> None:
    key = SigningKey("first")
    key.private = ec.generate_private_key(ec.SECP384R1())
    token = jwt.encode(idp.claims(), key.private, algorithm="ES384", headers={"kid": "first"})
    assert (await auth.refusal(token))[0] is StatusCode.UNAUTHENTICATED

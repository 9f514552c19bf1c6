"""Where the keys come from: discovery, files, rotation, an identity provider that is away, forged key ids."""

import asyncio
import json
from pathlib import Path

import aiohttp
import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from grpc import StatusCode
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from passerelle.auth.tokens.issuer import Issuer
from passerelle.auth.tokens.jwks import PublishedKeys, jwk_set, keys_of
from passerelle.auth.tokens.keyset import Key, KeySet, SourceFailed
from passerelle.runtime.errors import BackendUnavailable
from tests.certificates import certificate
from tests.examples import examples
from tests.unit.auth.conftest import Auth, serving_auth
from tests.unit.auth.idp import Idp, SigningKey

NO_KEY = (StatusCode.UNAUTHENTICATED, "Token's public key not found.")


async def test_a_new_key_is_found_at_once(idp: Idp) -> None:
    async with serving_auth({"issuer": idp.url}) as auth:
        await auth.authorize(idp.token())
        idp.key = SigningKey("second")
        idp.keys = [idp.key]
        assert (await auth.authorize(idp.token())).username == "alice"


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "EdDSA"])
def test_keys_go_on_to_others_as_they_came(algorithm: str) -> None:
    published = [SigningKey("one", algorithm).jwk, {**SigningKey("two").jwk, "alg": "ES256"}]
    keys = keys_of({"keys": published})
    again = keys_of(jwk_set(keys))
    assert [(key.kid, key.algorithms) for key in again] == [
        (key.kid, key.algorithms) for key in keys
    ]
    for entry, shown in zip(published, jwk_set(keys)["keys"], strict=True):
        assert {name: shown.get(name) for name in entry} == entry


async def test_a_withdrawn_key_is_no_longer_accepted(idp: Idp) -> None:
    old = idp.token()
    async with serving_auth({"issuer": idp.url}) as auth:
        await auth.authorize(old)
        idp.key = SigningKey("second")
        idp.keys = [idp.key]
        await auth.authorize(idp.token())  # makes it read the keys
        assert await auth.refusal(old) == NO_KEY


async def test_keys_are_refreshed_in_the_background(idp: Idp) -> None:
    old = idp.token()
    async with serving_auth({"issuer": idp.url, "refresh": 0.02}) as auth:
        await auth.authorize(old)
        idp.keys = [SigningKey("second")]
        async with asyncio.timeout(10):
            while await _accepted(auth, old):
                await asyncio.sleep(0.01)


async def test_forged_key_ids_cause_no_storm(idp: Idp) -> None:
    async with serving_auth({"issuer": idp.url}) as auth:
        await auth.authorize(idp.token())
        before = idp.fetched
        forged = (SigningKey(f"forged {n}").token(**idp.claims()) for n in range(50))
        assert set(await asyncio.gather(*map(auth.refusal, forged))) == {NO_KEY}
        assert idp.fetched == before + 1


async def test_known_keys_serve_while_the_provider_is_away(idp: Idp) -> None:
    async with serving_auth({"issuer": idp.url, "refresh": 0.02, "cooldown": 0.02}) as auth:
        await auth.authorize(idp.token())
        idp.broken = True
        count = idp.fetched
        async with asyncio.timeout(10):
            while idp.fetched < count + 3:  # it has failed to refresh, more than once
                await asyncio.sleep(0.01)
        assert (await auth.authorize(idp.token())).username == "alice"
        assert await auth.refusal(idp.key.token(kid="unknown", **idp.claims())) == NO_KEY


async def test_a_provider_that_was_never_reached(unreachable: Idp) -> None:
    async with serving_auth({"issuer": unreachable.url, "cooldown": 0.01}) as auth:
        code, message = await auth.refusal(unreachable.token())
        assert code is StatusCode.UNAVAILABLE
        assert message == (
            f"The identity provider {unreachable.url} cannot be reached, and its keys are not known."
        )
        async with unreachable.serving(), asyncio.timeout(10):
            while not await _accepted(auth, unreachable.token()):
                await asyncio.sleep(0.01)


async def test_two_providers_one_away(idp: Idp, unreachable: Idp) -> None:
    async with serving_auth({"issuer": unreachable.url}, {"issuer": idp.url}) as auth:
        assert (await auth.authorize(idp.token())).username == "alice"
        code, _ = await auth.refusal(unreachable.token())
        assert code is StatusCode.UNAVAILABLE


async def test_a_key_of_one_issuer_does_not_speak_for_another(idp: Idp) -> None:
    other = Idp()
    other.key.kid = other.keys[0].kid = "others"
    async with other.serving(), serving_auth({"issuer": idp.url}, {"issuer": other.url}) as auth:
        assert (await auth.authorize(other.token())).username == "alice"
        assert await auth.refusal(other.key.token(**idp.claims())) == NO_KEY


async def test_a_discovery_document_about_somebody_else(idp: Idp) -> None:
    idp.claimed_issuer = "https://elsewhere.example"
    async with serving_auth({"issuer": idp.url}) as auth:
        code, _ = await auth.refusal(idp.token())
        assert code is StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("leads_to", "insecure", "message"),
    [
        ("{plain}/jwks", False, "unsafe jwks_uri: http://"),
        ("{safe}/elsewhere?to={plain}/jwks", False, "redirects to an unsafe address: http://"),
        ("ftp://127.0.0.1/jwks", True, "unsafe jwks_uri: ftp://"),
        ("file:///etc/keys.json", True, "unsafe jwks_uri: file://"),
        ("{safe}/elsewhere?to={safe}/jwks", False, None),
        ("{plain}/jwks", True, None),
    ],
)
async def test_where_an_https_issuer_may_lead(
    idp: Idp, tmp_path: Path, leads_to: str, insecure: bool, message: str | None
) -> None:
    safe, shown = Idp(), certificate(["127.0.0.1"])
    safe.tls = shown.served(tmp_path)
    http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=shown.trusted))
    async with safe.serving(), http:
        safe.keys_at = leads_to.format(plain=idp.url, safe=safe.url)
        issuer = Issuer(issuer=safe.url, audience=("a",), insecure_http=insecure)
        if message is None:
            assert await PublishedKeys(http, issuer).keys()
            return
        with pytest.raises(SourceFailed, match=message):
            await PublishedKeys(http, issuer).keys()
        assert "redirects" in message or not idp.fetched


async def test_keys_in_a_file_for_tokens_of_any_issuer(tmp_path: Path) -> None:
    provider = Idp()
    file = tmp_path / "keys of the site.json"
    file.write_text(json.dumps({"keys": [provider.key.jwk]}))
    settings = {"any_issuer": True, "jwks_uri": file.as_uri()}
    async with serving_auth(settings) as auth:
        for issuer in ("https://a.example", "https://b.example", None):
            token = provider.key.token(**provider.claims(iss=issuer))
            principal = await auth.authorize(token)
            assert (principal.username, principal.issuer) == ("alice", issuer or "")
        assert await auth.refusal(SigningKey("x").token(**provider.claims())) == NO_KEY


async def test_several_unnamed_issuers_are_told_apart_by_their_keys(
    idp: Idp, unreachable: Idp
) -> None:
    other = Idp()
    other.key.kid = "others"
    urls = (f"{unreachable.url}/jwks", f"{idp.url}/jwks")
    async with other.serving():
        settings = [{"any_issuer": True, "jwks_uri": url} for url in (*urls, f"{other.url}/jwks")]
        async with serving_auth(*settings) as auth:
            assert (await auth.authorize(idp.token())).username == "alice"
            assert (await auth.authorize(other.token())).username == "alice"


@pytest.mark.parametrize(
    "entry",
    [
        {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA"},
        {"kty": "EC", "crv": "P-256", "x": "!", "y": "!"},
        {"kty": "EC", "crv": "secp256k1"},
        {"kty": ["RSA"]},
        {},
        {**SigningKey("x").jwk, "use": "enc"},
        {**SigningKey("x").jwk, "alg": "HS256"},
        {**SigningKey("x").jwk, "d": "AAAA"},
        "text",
    ],
)
def test_unfit_keys_are_left_out(entry: object) -> None:
    good = SigningKey("good").jwk
    assert [key.kid for key in keys_of({"keys": [entry, good]})] == ["good"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
_CURVES = st.sampled_from(["P-256", "P-384", "P-521", "Ed25519", "Ed448"])
_PARTS = ("n", "e", "x", "y", "d", "kid", "use", "alg", "key_ops")


@settings(max_examples=examples(300), deadline=None)
@given(
    st.fixed_dictionaries(
        {"kty": st.sampled_from(["RSA", "EC", "OKP"])},
        optional={"crv": _CURVES | _JSON, **dict.fromkeys(_PARTS, _JSON)},
    )
)
def test_nothing_in_a_key_set_stops_the_reading_of_others(entry: object) -> None:
    good = SigningKey("good").jwk
    assert "good" in [key.kid for key in keys_of({"keys": [entry, good]})]


def test_an_rsa_key_that_is_too_short_is_left_out() -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()  # noqa: S505
    assert keys_of({"keys": [RSAAlgorithm.to_jwk(weak, as_dict=True)]}) == ()


class _Source:
    """A key source that the test switches off and on: the fake at the port."""

    name = "the test"

    def __init__(self) -> None:
        self.failure: Exception | None = None

    async def keys(self) -> tuple[Key, ...]:
        if self.failure:
            raise self.failure
        return (Key("k", frozenset({"ES256"}), None),)


@pytest.mark.parametrize("failure", [SourceFailed("away"), RuntimeError("unforeseen")])
async def test_the_grace_period_ends(failure: Exception) -> None:
    source, now = _Source(), [0.0]
    keys = KeySet(source, refresh=100, cooldown=10, grace=1000, clock=lambda: now[0])
    async with keys.kept_fresh():
        assert await keys.find("k", "ES256")
        source.failure = failure
        now[0] = 1099
        assert await keys.find("k", "ES256")
        now[0] = 1101
        with pytest.raises(BackendUnavailable):
            await keys.find("k", "ES256")
        source.failure = None
        now[0] = 1112
        assert await keys.find("k", "ES256")


async def _accepted(auth: Auth, token: str) -> bool:
    try:
        await auth.authorize(token)
    except grpc.aio.AioRpcError:
        return False
    return True


@pytest.fixture
async def unreachable() -> Idp:
    """A provider with an address at which nobody answers."""
    provider = Idp()
    async with provider.serving():
        pass
    return provider

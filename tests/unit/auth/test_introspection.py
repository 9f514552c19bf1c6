"""Whether a token was revoked: asked of the issuer, remembered, and nobody comes in without an answer."""

import asyncio
import base64
from typing import Any

import pytest
from grpc import StatusCode

from passerelle.auth.tokens.issuer import Issuer
from tests.unit.auth.conftest import serving_auth
from tests.unit.auth.idp import Idp, SigningKey

REVOKED = (StatusCode.UNAUTHENTICATED, "Access token is not active any more.")


def issuer(idp: Idp, **settings: Any) -> dict[str, Any]:
    asked = {"url": f"{idp.url}/introspect", "client_id": "us", "client_secret": "hush"}
    return {"issuer": idp.url, "introspection": {**asked, **settings}}


async def test_a_revoked_token_is_refused(idp: Idp) -> None:
    async with serving_auth(issuer(idp, remember=0.2)) as auth:
        token = idp.token()
        assert (await auth.authorize(token)).username == "alice"
        idp.revoked.add(token)
        async with asyncio.timeout(10):
            while await _accepted(auth, token):
                await asyncio.sleep(0.02)
        assert await auth.refusal(token) == REVOKED
        assert (await auth.authorize(idp.token(sub="a-2"))).username == "alice"
    assert set(idp.introspected) == {f"Basic {base64.b64encode(b'us:hush').decode()}"}


async def _accepted(auth: Any, token: str) -> bool:
    try:
        return bool(await auth.authorize(token))
    except Exception:
        return False


async def test_an_answer_is_remembered_and_asked_for_once(idp: Idp) -> None:
    async with serving_auth(issuer(idp, remember=60)) as auth:
        token = idp.token()
        await asyncio.gather(*(auth.authorize(token) for _ in range(20)))
        await auth.authorize(token, scope="other")
        assert len(idp.introspected) == 1
        refused = idp.token(sub="x")
        idp.revoked.add(refused)
        for _ in range(3):
            assert await auth.refusal(refused) == REVOKED
        assert len(idp.introspected) == 2


async def test_nobody_asks_about_a_token_that_is_not_valid_anyway(idp: Idp) -> None:
    async with serving_auth(issuer(idp)) as auth:
        for token in (
            SigningKey("first").token(**idp.claims()),
            idp.token(exp=1),
            idp.token(preferred_username="root"),
            "x",
        ):
            await auth.refusal(token)
    assert idp.introspected == []


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 500},
        {"status": 401},
        {"status": 302, "headers": {"location": "/introspect2"}},
        {"text": ""},
        {"text": "{}"},
        {"text": "[]"},
        {"text": "null"},
        {"text": '{"active": "true"}'},
        {"text": '{"active": 1}'},
        {"text": '{"active": null}'},
        {"body": b" " * (1 << 21)},
    ],
)
async def test_without_an_answer_nobody_comes_in(
    idp: Idp, answer: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    idp.introspection = answer
    async with serving_auth(issuer(idp)) as auth:
        code, message = await auth.refusal(token := idp.token())
        assert (code, "does not say whether" in message) == (StatusCode.UNAVAILABLE, True)
        idp.introspection = {}
        assert (await auth.authorize(token)).username == "alice"
    assert "hush" not in caplog.text
    assert token not in caplog.text


async def test_an_issuer_that_is_away(idp: Idp) -> None:
    async with serving_auth(issuer(idp, url="http://127.0.0.1:1/", timeout=1)) as auth:
        assert (await auth.refusal(idp.token()))[0] is StatusCode.UNAVAILABLE


def test_the_token_goes_over_no_open_network() -> None:
    asked = {"url": "http://idp.example.org/x", "client_id": "a", "client_secret": "b"}
    settings = {"issuer": "https://a.example", "any_audience": True, "introspection": asked}
    with pytest.raises(ValueError, match="is plain http"):
        Issuer.model_validate(settings)
    Issuer.model_validate(settings | {"insecure_http": True})

"""The development issuer, over real HTTP: tokens, refusals, a key that stays."""

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import aiohttp
import jwt
import pytest
from pydantic import ValidationError

from passerelle.development.config import Client, DevelopmentIssuer
from passerelle.development.issuer import serving_issuer
from passerelle.development.main import running
from passerelle.runtime.config.site import ConfigError, site_model

SECRET = "s3cret & stränge:+%"
GRANT = {"grant_type": "client_credentials"}
POST = GRANT | {"client_id": "web", "client_secret": SECRET}


def _settings(directory: Path, listen: str = "127.0.0.1:0") -> DevelopmentIssuer:
    client = Client.model_validate(
        {"id": "web", "secret": SECRET, "username": "alice", "scopes": ["a.read", "a.write"]}
    )
    return DevelopmentIssuer(listen=listen, key_file=directory / "issuer_key", clients=(client,))


@asynccontextmanager
async def _serving(directory: Path) -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:
    async with serving_issuer(_settings(directory)) as port, aiohttp.ClientSession() as http:
        yield f"http://127.0.0.1:{port}", http


async def _ask(
    directory: Path, form: Any, headers: Mapping[str, str] | None = None
) -> tuple[int, Any, Mapping[str, str]]:
    async with (
        _serving(directory) as (url, http),
        http.post(f"{url}/token", data=form, headers=headers) as reply,
    ):
        return reply.status, await reply.json(), dict(reply.headers)


def _basic(name: str, secret: str) -> dict[str, str]:
    """RFC 6749 §2.3.1: both are form-encoded first."""
    shown = f"{quote_plus(name)}:{quote_plus(secret)}"
    return {"authorization": "Basic " + base64.b64encode(shown.encode()).decode()}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a key that is made once: that takes longer than all else."""
    return tmp_path_factory.mktemp("issuer")


async def test_a_token_holds_what_its_issuer_says(directory: Path) -> None:
    async with _serving(directory) as (url, http):
        async with http.post(f"{url}/token", data=POST) as reply:
            granted = await reply.json()
            assert reply.headers["cache-control"] == "no-store"
        async with http.get(f"{url}/.well-known/openid-configuration") as reply:
            discovery = await reply.json()
        async with http.get(discovery["jwks_uri"]) as reply:
            keys = jwt.PyJWKSet.from_dict(await reply.json())
    assert discovery["issuer"] == url
    assert discovery["token_endpoint"] == f"{url}/token"
    token = granted["access_token"]
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, audience="passerelle", issuer=url)
    assert claims["preferred_username"] == "alice"
    assert claims["exp"] - claims["iat"] == granted["expires_in"] == 3600
    assert claims["scope"] == granted["scope"] == "a.read a.write"
    assert granted["token_type"] == "Bearer"
    assert "email" not in claims


async def test_publishes_no_private_part(directory: Path) -> None:
    async with _serving(directory) as (url, http), http.get(f"{url}/jwks") as reply:
        (key,) = (await reply.json())["keys"]
    assert set(key) == {"kty", "n", "e", "kid", "use", "alg"}


@pytest.mark.parametrize(
    ("sent_value", "granted"), [("a.read", "a.read"), ("openid a.write", "a.write"), ("other", "")]
)
async def test_grants_no_more_scopes_than_asked_for_and_owned(
    directory: Path, sent_value: str, granted: str
) -> None:
    status, body, _ = await _ask(directory, POST | {"scope": sent_value})
    assert (status, body["scope"]) == (200, granted)


async def test_basic_authentication(directory: Path) -> None:
    status, body, _ = await _ask(directory, GRANT, _basic("web", SECRET))
    assert (status, "access_token" in body) == (200, True)


@pytest.mark.parametrize(
    ("form", "headers", "status", "error"),
    [
        (POST | {"client_secret": "wrong"}, None, 401, "invalid_client"),
        (POST | {"client_id": "nobody"}, None, 401, "invalid_client"),
        (GRANT, None, 401, "invalid_client"),
        (GRANT, _basic("web", "wrong"), 401, "invalid_client"),
        (GRANT, {"authorization": "Basic §§§"}, 401, "invalid_client"),
        (GRANT, {"authorization": "Bearer x"}, 401, "invalid_client"),
        (POST, _basic("web", SECRET), 400, "invalid_request"),
        (POST | {"grant_type": "password"}, None, 400, "unsupported_grant_type"),
        ({"client_id": "web", "client_secret": SECRET}, None, 400, "invalid_request"),
        ([*POST.items(), ("client_id", "web")], None, 400, "invalid_request"),
        (b"{}", {"content-type": "application/json"}, 400, "invalid_request"),
    ],
)
async def test_refusals_are_those_of_rfc_6749(
    directory: Path, form: Any, headers: Mapping[str, str] | None, status: int, error: str
) -> None:
    result, body, replied = await _ask(directory, form, headers)
    assert (result, body["error"]) == (status, error)
    assert ("WWW-Authenticate" in replied) is (status == 401)
    assert SECRET not in str(body)


async def test_tokens_stay_valid_over_a_restart(tmp_path: Path) -> None:
    _, granted, _ = await _ask(tmp_path, POST)
    async with _serving(tmp_path) as (url, http), http.get(f"{url}/jwks") as reply:
        keys = jwt.PyJWKSet.from_dict(await reply.json())
    header = jwt.get_unverified_header(granted["access_token"])
    jwt.decode(granted["access_token"], keys[header["kid"]], audience="passerelle")
    assert (tmp_path / "issuer_key").stat().st_mode & 0o777 == 0o600


async def test_refuses_a_key_that_others_may_read(tmp_path: Path) -> None:
    await _ask(tmp_path, POST)
    (tmp_path / "issuer_key").chmod(0o640)
    with pytest.raises(ConfigError, match="others may read"):
        await _ask(tmp_path, POST)


@pytest.mark.parametrize(
    "listen",
    ["0.0.0.0:8001", ":8001", "[::]:8001", "192.0.2.1:8001", "example.org:8001",
     "127.0.0.1.example.org:8001", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:99999"],
)  # fmt: skip
def test_refuses_every_address_but_loopback(tmp_path: Path, listen: str) -> None:
    with pytest.raises(ValidationError):
        _settings(tmp_path, listen)


def test_localhost_means_the_address_and_not_the_name(tmp_path: Path) -> None:
    assert _settings(tmp_path, "localhost:1").listen == "127.0.0.1:1"


async def test_both_servers_run_from_one_site(tmp_path: Path) -> None:
    text = f"""
development:
  issuer: {{listen: "127.0.0.1:0", key_file: {tmp_path}/issuer_key}}
  sshd:
    listen: 127.0.0.1:0
    host_key_file: {tmp_path}/host_key
    user_ca: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7+6IUbrPSiEUKFzYZuXjbN/qvmrHpBVVpiMuKgl1oP
"""
    async with (
        running(site_model().parse(text)) as port,
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{port}/jwks") as reply,
    ):
        assert reply.status == 200
    assert (tmp_path / "host_key").exists()


async def test_says_so_when_nothing_is_configured() -> None:
    with pytest.raises(ConfigError, match="neither"):
        async with running(site_model().parse("systems: []")):
            pass

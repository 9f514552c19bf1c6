"""Envoy verifies tokens with the keys that the real auth service has, whenever those come and go."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from passerelle.auth.main import running
from passerelle.gateway.envoy import keys as envoy_keys
from passerelle.runtime.caller import Caller
from passerelle.runtime.config.site import site_model
from passerelle.v1.access_pb2 import Access
from tests.integration.envoy_stack import SECRET, running_envoy, services
from tests.ports import free_port
from tests.unit.auth.idp import Idp, SigningKey

_TIMEOUT = 30  # seconds


class Anybody:
    """An authority that takes what has come past Envoy."""

    async def caller(self, token: str, *, access: Access, system: str) -> Caller:
        return Caller("alice", token)


class Gateway:
    """Envoy, as a client and as its operator see it."""

    def __init__(self, http: httpx.AsyncClient, admin: str) -> None:
        self._http = http
        self._admin = admin

    async def status(self, token: str, path: str = "/status/systems") -> int:
        """The status that somebody with this token gets."""
        shown = {"authorization": f"Bearer {token}"}
        return (await self._http.get(path, headers=shown)).status_code

    async def verifies(self, token: str) -> bool:
        """Whether it lets the token pass without asking auth."""
        before = await self.judged()
        return await self.status(token) == 200 and await self.judged() == before

    async def counted(self) -> int:
        """How many requests it has counted whose token it did not verify."""
        return await self._statistic("unverified.http_local_rate_limit.enabled")

    async def judged(self) -> int:
        """How often it has asked auth about a token."""
        answers = ("ok", "denied", "error")
        return sum([await self._statistic(f"http.public.ext_authz.{one}") for one in answers])

    async def _statistic(self, name: str) -> int:
        reply = await self._http.get(f"{self._admin}/stats", params={"filter": f"^{name}$"})
        return int(reply.text.split(": ")[1]) if reply.text.strip() else 0


@asynccontextmanager
async def gateway(idp: Idp, directory: Path) -> AsyncIterator[Gateway]:
    """Envoy and auth before services that trust them; the issuer may be up or down."""
    listen, admin, auth = free_port(), f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    issuer = {"issuer": idp.url, "audience": ["hpc"], "cooldown": 0.1, "refresh": 1}
    async with services(authority=Anybody()) as port:
        there = {"address": f"127.0.0.1:{port}"}
        site = site_model().model_validate(
            {
                "services": {
                    **dict.fromkeys(("compute", "storage", "gateway"), there),
                    "auth": {"address": auth},
                    "secret": SECRET,
                },
                "gateway": {"listen": f"127.0.0.1:{listen}", "admin": admin},
                "auth": {"issuers": [issuer]},
            }
        )
        async with (
            running(site),
            running_envoy(site, listen, directory) as stack,
            httpx.AsyncClient(base_url=stack.url, timeout=_TIMEOUT) as http,
        ):
            yield Gateway(http, f"http://{admin}")


@pytest.fixture
async def idp() -> Idp:
    """A provider that has an address, and is down."""
    result = Idp()
    async with result.serving():
        pass
    return result


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envoy_keys, "_REFRESH", "1s")


async def test_an_issuer_that_comes_up_later(idp: Idp, tmp_path: Path) -> None:
    async with gateway(idp, tmp_path) as result, asyncio.timeout(_TIMEOUT):
        token = idp.token(aud="hpc")
        assert await result.status(token) == 503
        async with idp.serving():
            while await result.status(token) != 200:
                await asyncio.sleep(0.1)
            while not await result.verifies(token):
                await asyncio.sleep(0.1)
        assert await result.verifies(token)  # with the issuer down again


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
async def test_an_issuer_that_changes_its_keys_and_their_place(
    idp: Idp, tmp_path: Path, algorithm: str
) -> None:
    other = Idp()
    async with (
        idp.serving(),
        other.serving(),
        gateway(idp, tmp_path) as result,
        asyncio.timeout(_TIMEOUT),
    ):
        old = idp.token(aud="hpc")
        while not await result.verifies(old):
            await asyncio.sleep(0.1)
        idp.key = SigningKey("second", algorithm)
        other.keys = [idp.key]
        idp.keys_at = f"{other.url}/jwks"
        new = idp.token(aud="hpc")
        assert await result.status(new) == 200  # auth looks at once
        while not await result.verifies(new):
            await asyncio.sleep(0.1)


async def test_tokens_for_others_do_not_pass(idp: Idp, tmp_path: Path) -> None:
    async with idp.serving(), gateway(idp, tmp_path) as result, asyncio.timeout(_TIMEOUT):
        while not await result.verifies(idp.token(aud="hpc")):
            await asyncio.sleep(0.1)
        assert await result.status(idp.token(aud="other")) == 401
        assert await result.status(SigningKey("first").token(**idp.claims(aud="hpc"))) == 401


async def test_only_what_asks_for_a_token_is_counted(idp: Idp, tmp_path: Path) -> None:
    """Among the tokens that are none of an address."""
    async with gateway(idp, tmp_path) as result:
        for path in ("/status/liveness/", "/nope", "/openapi.json"):
            await result.status("none", path)
        assert await result.counted() == 0
        for number, path in enumerate(("/status/systems", "/Status/Systems"), 1):
            await result.status("none", path)
            assert (await result.counted(), await result.judged()) == (number, number)

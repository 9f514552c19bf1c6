"""Attacks on a whole site (bench/attacks): nothing of ours is held by them, and a user notices
nothing but a busy machine. Those that once shut the whole gateway are refused at once."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bench.attacks.attacker import ATTACKS
from bench.attacks.unfinished import FORGED, UNFINISHED
from bench.processes import memory_mib
from tests.ports import free_port
from tests.stack import running_site

REFUSED = {"UNAUTHENTICATED", "UNAVAILABLE", "RESOURCE_EXHAUSTED"}
"""What gRPC clients hear: no valid token, or (429 in HTTP) too many requests without one."""

GROWTH_MIB = 100  # of all services together; the messages alone are 360


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A site of our own: its memory is looked at."""
    state = str(tmp_path_factory.mktemp("state"))
    where = {"PASSERELLE_PORT": str(free_port()), "XDG_STATE_HOME": state}
    with running_site(environment=where) as ready:
        yield ready


@pytest.mark.parametrize("name", ATTACKS)
async def test_an_attack_holds_nothing(site: dict[str, Any], name: str) -> None:
    address = site["ready"].removeprefix("http://")
    before = sum(memory_mib(site["pid"]).values())
    attack = ATTACKS[name](address, site["token"])
    attacking: asyncio.Future[Any] = asyncio.ensure_future(attack)
    headers = {"Authorization": f"Bearer {site['token']}"}
    async with httpx.AsyncClient(base_url=site["ready"], headers=headers, timeout=30) as http:
        statuses = set()
        while not attacking.done():
            statuses.add((await http.get("/v1/systems/local/userinfo")).status_code)
            statuses.add((await http.get("/status/systems")).status_code)
            await asyncio.sleep(0.02)
    assert statuses == {200} or (name == "open calls, valid token" and statuses <= {200, 429})
    heard = set(await attacking)
    if name in UNFINISHED:
        assert heard <= REFUSED | {"401", "429", "closed"}
        assert heard & {"UNAUTHENTICATED", "401", "429", "UNAVAILABLE"}
    assert sum(memory_mib(site["pid"]).values()) - before < GROWTH_MIB


async def test_who_fails_too_often_is_told_to_wait(site: dict[str, Any]) -> None:
    async with httpx.AsyncClient(base_url=site["ready"], timeout=30) as http:
        forged = {"Authorization": FORGED[0][1]}
        for _ in range(5000):
            reply = await http.get("/status/systems", headers=forged)
            if reply.status_code != 401:
                break
        assert (reply.status_code, reply.json()["errorType"]) == (429, "error")
        assert int(reply.headers["retry-after"]) > 0
        user = {"Authorization": f"Bearer {site['token']}"}
        assert (await http.get("/status/systems", headers=user)).status_code == 200


async def test_a_user_is_not_counted_among_them(site: dict[str, Any]) -> None:
    """More calls than an address may make with tokens that are none."""
    user = {"Authorization": f"Bearer {site['token']}"}
    async with httpx.AsyncClient(base_url=site["ready"], headers=user, timeout=60) as http:
        for _ in range(20):
            replies = await asyncio.gather(*(http.get("/status/systems") for _ in range(50)))
            assert {reply.status_code for reply in replies} == {200}

"""Many calls of one user at once, on an sshd that keeps OpenSSH's MaxSessions 10: they wait in line, none fails."""

import asyncio
from collections import Counter

import httpx
import pytest

from tests.e2e.target import Target


async def _statuses(target: Target, path: str, calls: int) -> Counter[int]:
    headers = {"Authorization": f"Bearer {target.token()}"}
    limits = httpx.Limits(max_connections=calls)
    async with httpx.AsyncClient(
        base_url=target.base_url, headers=headers, timeout=120, limits=limits
    ) as client:
        replies = await asyncio.gather(*(client.get(path) for _ in range(calls)))
    return Counter(reply.status_code for reply in replies)


@pytest.mark.parametrize(
    "path",
    [
        "/filesystem/{}/ops/stat?path={}",
        "/filesystem/{}/ops/ls?path={}",
        "/compute/{}/jobs?account={}",
        "/status/{}/userinfo",
        "/status/{}/nodes",
    ],
)
async def test_sixty_four_calls_of_one_user(target: Target, path: str) -> None:
    wanted = path.format(target.system, target.directory)
    assert await _statuses(target, wanted, 64) == Counter({200: 64})


async def test_sixty_four_different_files(target: Target) -> None:
    """Not even sharing what is asked at the same moment."""
    headers = {"Authorization": f"Bearer {target.token()}"}
    files = f"/filesystem/{target.system}/ops/stat"
    async with httpx.AsyncClient(base_url=target.base_url, headers=headers, timeout=120) as client:
        paths = [f"{target.directory}/none-{number}" for number in range(64)]
        replies = await asyncio.gather(*(client.get(files, params={"path": p}) for p in paths))
    assert Counter(reply.status_code for reply in replies) == Counter({404: 64})
    assert all(path in reply.json()["message"] for path, reply in zip(paths, replies, strict=True))


async def test_a_burst_is_answered_honestly_and_is_over_when_it_is_over(target: Target) -> None:
    path = f"/filesystem/{target.system}/ops/stat?path={target.directory}"
    burst = await _statuses(target, path, 512)
    assert set(burst) <= {200, 429, 503}
    assert burst[200] >= 64
    assert await _statuses(target, path, 1) == Counter({200: 1})

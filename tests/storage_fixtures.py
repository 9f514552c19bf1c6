"""Fixtures of the storage service over an SSH server of this process, for unit and integration tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from tests.unit.storage.profile import Profile
from tests.unit.storage.world import World, remote, serving_storage


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with remote(tmp_path, limit=100_000) as found:
        yield found


@pytest.fixture
async def channel(world: World) -> AsyncIterator[grpc.aio.Channel]:
    async with serving_storage(world) as found:
        yield found


@pytest.fixture
def profile(channel: grpc.aio.Channel) -> Profile:
    return Profile(channel)

"""Fixtures of the storage service over an SSH server of this process."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from tests.unit.storage.profile import Profile
from tests.unit.storage.world import World, Worlds, as_alice, remote, serving_storage

_LIMIT = 100_000
"""The limit of reads into memory, in bytes."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def worlds(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Worlds]:
    """Systems that tests share which run in the loop of the session; their files are wherever tests have theirs."""
    async with AsyncExitStack() as stack:
        yield Worlds(tmp_path_factory.getbasetemp(), stack)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_channel(
    worlds: Worlds, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[grpc.aio.Channel]:
    """To the storage service over one of these systems."""
    world = await worlds.at(tmp_path_factory.getbasetemp(), limit=_LIMIT)
    async with serving_storage(world) as shared_channel:
        yield shared_channel


@pytest.fixture
def alice() -> Iterator[None]:
    """The test runs as alice: she is the current caller, as in an RPC of hers."""
    with as_alice():
        yield


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with remote(tmp_path, limit=_LIMIT) as world:
        yield world


@pytest.fixture
async def channel(world: World) -> AsyncIterator[grpc.aio.Channel]:
    async with serving_storage(world) as channel:
        yield channel


@pytest.fixture
def profile(channel: grpc.aio.Channel) -> Profile:
    return Profile(channel)

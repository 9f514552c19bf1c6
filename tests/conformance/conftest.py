"""Fixtures of all conformance suites."""

from pathlib import Path

import pytest
import pytest_asyncio

from tests.storage_fixtures import alice, worlds  # noqa: F401  # fixtures
from tests.unit.storage.world import World, Worlds


@pytest_asyncio.fixture(params=[True, False], ids=["helper", "commands"], loop_scope="session")
async def world(request: pytest.FixtureRequest, worlds: Worlds, tmp_path: Path) -> World:  # noqa: F811  # the fixture
    """A system whose files are the test's; once with the remote helper, once without."""
    return await worlds.at(tmp_path, helper=request.param)

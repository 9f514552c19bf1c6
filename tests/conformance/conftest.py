"""What the conformance suites share."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.unit.storage.world import Worlds


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def worlds(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Worlds]:
    """Systems that tests share which run in the loop of the session; their files are wherever tests have theirs."""
    async with AsyncExitStack() as stack:
        yield Worlds(tmp_path_factory.getbasetemp(), stack)

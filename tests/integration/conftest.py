"""What tests of one part with real things beside it share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.storage.world import World, remote


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """One system on an SSH server of this process."""
    async with remote(tmp_path, limit=100_000) as found:
        yield found

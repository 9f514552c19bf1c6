"""What calls cost in memory, measured as `python -m bench.guard` does. The CPU time that it measures too is judged
by CI after the tests, because a busy machine makes a call dearer: each wake-up then serves fewer calls."""

from collections.abc import Iterator

import pytest

from bench import guard
from bench.accounts import prepared
from bench.stack import Stack, running_stack
from tests.cluster import Cluster


@pytest.fixture(scope="module")
def stack(cluster: Cluster) -> Iterator[Stack]:
    """A gateway of our own: its memory is looked at."""
    with running_stack(cluster.directory) as running:
        yield running


async def test_512_uploads_at_once_take_bounded_memory(stack: Stack) -> None:
    async with prepared(stack.cluster, ("alice",)) as accounts:
        assert await guard.uploads_mib(stack, accounts) < guard.UPLOADS_LIMIT

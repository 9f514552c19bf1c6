"""What the tests of the storage service share."""

import grpc
import pytest

from tests.storage_fixtures import (  # noqa: F401  # fixtures
    alice,
    profile,
    shared_channel,
    world,
    worlds,
)


@pytest.fixture
def channel(shared_channel: grpc.aio.Channel) -> grpc.aio.Channel:  # noqa: F811  # the fixture
    return shared_channel

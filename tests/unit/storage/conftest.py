"""What the tests of the storage service share."""

import grpc
import pytest

from tests.storage_fixtures import profile, shared_channel, world, worlds  # noqa: F401  # fixtures


@pytest.fixture
def channel(shared_channel: grpc.aio.Channel) -> grpc.aio.Channel:  # noqa: F811  # the fixture
    return shared_channel

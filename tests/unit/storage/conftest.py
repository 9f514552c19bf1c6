"""What the tests of the storage service share."""

from tests.storage_fixtures import channel, profile, world  # noqa: F401  # fixtures

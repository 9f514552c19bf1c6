"""What tests of one part with real things beside it share."""

from tests.storage_fixtures import channel, profile, world  # noqa: F401  # fixtures

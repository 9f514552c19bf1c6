"""Fixtures of tests that run one part with real servers beside it."""

from tests.storage_fixtures import channel, profile, world  # noqa: F401  # fixtures

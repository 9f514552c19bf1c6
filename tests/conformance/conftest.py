"""Fixtures of all conformance suites."""

from tests.storage_fixtures import worlds  # noqa: F401  # a fixture

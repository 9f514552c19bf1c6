"""What the conformance suites share."""

from tests.storage_fixtures import worlds  # noqa: F401  # a fixture

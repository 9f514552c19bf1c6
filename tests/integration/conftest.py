"""Fixtures of tests that run one part with real servers beside it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.storage_fixtures import alice, channel, profile, world  # noqa: F401  # fixtures


@pytest.fixture
def directory(cluster: Cluster, tmp_path: Path) -> Iterator[Path]:
    """A new, empty directory of alice on the cluster."""
    path = Path("/tmp") / f"passerelle-{os.getpid()}-{tmp_path.name}"
    path.mkdir()
    shutil.chown(path, "alice", "alice")
    yield path
    shutil.rmtree(path)

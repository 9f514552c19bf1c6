"""Fixtures of the end-to-end tests: each runs on the embedded `local` system and on the real Slurm."""

import uuid
from collections.abc import Iterator
from importlib.metadata import version
from typing import cast

import pytest
from firecrest.v2 import Firecrest

from tests import real
from tests.compat.replay import FirecrestApi
from tests.e2e.target import Target


@pytest.fixture(scope="session")
def cluster_target(firecrest_api: FirecrestApi) -> Target:
    """Alice on the real Slurm."""
    return Target(
        base_url=firecrest_api.base_url,
        system="cluster",
        user="alice",
        token=lambda: firecrest_api.token("alice"),
        directory="/home/alice",
        partition="debug",
        account="proj1sub",
    )


@pytest.fixture(scope="session", params=["local", "cluster"])
def target(request: pytest.FixtureRequest) -> Target:
    """The system under test."""
    return cast(Target, request.getfixturevalue(f"{request.param}_target"))


@pytest.fixture
def client(target: Target) -> Iterator[Firecrest]:
    """pyfirecrest as its users make it; one for each test, because modules have targets of their own."""
    real.exercised("pyfirecrest", version("pyfirecrest"))
    client = Firecrest(firecrest_url=target.base_url, authorization=target)
    yield client
    client.close_session()


@pytest.fixture
def directory(target: Target, client: Firecrest) -> Iterator[str]:
    """A new, empty directory on the system."""
    path = f"{target.directory}/passerelle-e2e-{uuid.uuid4()}"
    client.mkdir(target.system, path)
    yield path
    client.rm(target.system, path)

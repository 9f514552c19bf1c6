"""The pinned versions satisfy what the project asks for, so that a fresh clone gets everything."""

import tomllib
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TOP = Path(__file__).parents[2]


def pinned() -> dict[str, str]:
    """The versions in the lock, by name."""
    lines = (TOP / "requirements-dev.lock").read_text().splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def asked_for() -> Iterator[Requirement]:
    """What pyproject.toml names, and what the extras in it bring."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    for text in (*project["dependencies"], *project["optional-dependencies"]["dev"]):
        requirement = Requirement(text)
        yield requirement
        for extra in requirement.extras:
            inner = map(Requirement, requires(requirement.name) or ())
            yield from (one for one in inner if one.marker and _only_with(one, extra))


def _only_with(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    assert marker
    return marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


@pytest.mark.parametrize("requirement", list(asked_for()), ids=str)
def test_every_requirement_is_pinned(requirement: Requirement) -> None:
    version = pinned().get(canonicalize_name(requirement.name))
    assert version is not None, "missing in requirements-dev.lock"
    assert requirement.specifier.contains(version)

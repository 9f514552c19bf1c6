"""The pinned versions satisfy what the project asks for, so that a clone gets all of it and nothing unpinned."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TOP = Path(__file__).parents[2]


RUN, DEV = "requirements.lock", "requirements-dev.lock"
CLIENTS = sorted(str(path.relative_to(TOP)) for path in TOP.glob("tests/clients/*-[0-9]*.lock"))
OWN = "tests/clients/passerelle-client.lock"
"""What the client distribution of ours takes, which is built from this directory as the server is."""
_FOR_TESTS = {"pytest", "twisted", "autobahn", "pyfirecrest", "magic-wormhole", "mypy", "ruff"}


def entries(lock: str) -> list[str]:
    """The packages of a lock, one line each with version, marker and hashes."""
    text = (TOP / lock).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if not line.startswith("#")]


def pinned(lock: str = DEV) -> dict[str, str]:
    """The versions in the lock, by name."""
    pairs = (re.split(r"==| ", line, maxsplit=2)[:2] for line in entries(lock))
    return {canonicalize_name(name): version for name, version in pairs}


def asked_for() -> Iterator[Requirement]:
    """What pyproject.toml names, and what the extras in it bring; not what is built from this directory."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for text in (*project["dependencies"], *extras["build"], *extras["dev"]):
        requirement = Requirement(text)
        if requirement.name == "passerelle-client":
            continue
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


@pytest.mark.parametrize("lock", [RUN, DEV, OWN, *CLIENTS])
def test_every_package_has_hashes_and_none_a_place_to_come_from(lock: str) -> None:
    assert [line for line in entries(lock) if "--hash=sha256:" not in line] == []
    assert "://" not in (TOP / lock).read_text()
    assert "index-url" not in (TOP / lock).read_text()


def test_what_runs_is_what_was_tested_without_what_tests_need() -> None:
    assert pinned(RUN).items() <= pinned(DEV).items()
    assert pinned(OWN).items() <= pinned(RUN).items()
    assert not _FOR_TESTS & pinned(RUN).keys()
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    names = {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}
    assert names - {"passerelle-client"} <= pinned(RUN).keys()


@pytest.mark.parametrize("lock", CLIENTS)
def test_a_client_is_pinned_to_the_version_that_its_lock_is_named_after(lock: str) -> None:
    name, _, version = Path(lock).stem.rpartition("-")
    assert pinned(lock)[name] == version


@pytest.mark.parametrize("lock", [RUN, DEV])
def test_no_package_stands_in_for_the_standard_library(lock: str) -> None:
    assert not pinned(lock).keys() & sys.stdlib_module_names


def test_the_bill_of_materials_has_all_of_it() -> None:
    made = subprocess.run(
        (sys.executable, str(TOP / "deploy" / "sbom.py")),
        capture_output=True,
        check=True,
    )
    bill = json.loads(made.stdout)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    named = {canonicalize_name(each["name"]): each["version"] for each in bill["components"]}
    assert named == pinned(RUN)
    assert all(each["externalReferences"][0]["hashes"] for each in bill["components"])


def test_the_object_store_of_the_tests_is_pinned() -> None:
    assert re.search(r"minio/minio@v[0-9]", (TOP / "deploy" / "minio").read_text())

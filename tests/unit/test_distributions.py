"""Two distributions, `passerelle` and `passerelle-client`: of one version, and no file is in both."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
SERVER = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
CLIENT = tomllib.loads((REPO / "proto/pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The files of each wheel, by the distribution's name."""
    collected = {}
    for name, source in (("server", REPO), ("client", REPO / "proto")):
        directory = tmp_path_factory.mktemp(name)
        build = (sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", directory)
        subprocess.run(build, cwd=source, check=True, capture_output=True, timeout=300)
        [wheel] = directory.iterdir()
        with zipfile.ZipFile(wheel) as archive:
            collected[name] = set(archive.namelist())
    return collected


def test_no_file_is_in_both(wheels: dict[str, set[str]]) -> None:
    assert not wheels["server"] & wheels["client"]


def test_the_client_has_all_of_the_native_api_and_no_other(wheels: dict[str, set[str]]) -> None:
    code = {name for name in wheels["client"] if ".dist-info/" not in name}
    stubs = (REPO / "proto/gen/passerelle/v1").iterdir()
    assert code == {
        f"passerelle/v1/{path.name}" for path in stubs if path.suffix in (".py", ".pyi", ".typed")
    }


def test_the_server_has_what_the_client_has_not(wheels: dict[str, set[str]]) -> None:
    both = {name for name in wheels["server"] | wheels["client"] if name.startswith("passerelle/")}
    generated = {
        path.relative_to(REPO / "proto/gen").as_posix()
        for path in (REPO / "proto/gen").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert generated <= both
    assert "passerelle/runtime/errors.py" in wheels["server"]


def test_they_are_of_one_version() -> None:
    assert SERVER["version"] == CLIENT["version"]
    assert f"passerelle-client=={CLIENT['version']}" in SERVER["dependencies"]


def test_the_client_needs_what_the_server_needs() -> None:
    """In the same ranges: they are installed beside each other."""
    assert set(CLIENT["dependencies"]) <= set(SERVER["dependencies"])

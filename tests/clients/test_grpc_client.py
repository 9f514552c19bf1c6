"""The distribution `passerelle-client`, as who writes a gRPC client has it: built, installed where nothing of the
server is, and used on a running site through Envoy by the example of its README."""

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.clients.environments import python_with
from tests.e2e.target import Target

REPO = Path(__file__).parents[2]
README = (REPO / "proto" / "README.md").read_text()


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """An interpreter with what the distribution needs, and the environment in which it has the distribution itself."""
    directory = tmp_path_factory.mktemp("client")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    build = (*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(directory))
    subprocess.run((*build, REPO / "proto"), check=True, capture_output=True, timeout=300)
    [wheel] = directory.glob("passerelle_client-*.whl")
    install = (*pip, "install", "--no-deps", "--no-index", "--target", str(directory / "site"))
    subprocess.run((*install, wheel), check=True, capture_output=True, timeout=300)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(directory / "site")}
    return python_with("passerelle-client"), environment


def run(python: tuple[Path, dict[str, str]], program: str, **environment: str) -> str:
    """What a program prints."""
    done = subprocess.run(
        (python[0], "-W", "error", "-c", program),
        env=python[1] | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_of_the_server_is_there(python: tuple[Path, dict[str, str]]) -> None:
    program = """
import pkgutil, passerelle, passerelle.v1
print(sorted(m.name for m in pkgutil.iter_modules(passerelle.__path__)))
"""
    assert run(python, program).strip() == "[]"  # the namespace's only package is one, too
    with pytest.raises(AssertionError, match="ModuleNotFoundError"):
        run(python, "import passerelle.runtime")


def test_it_is_typed(python: tuple[Path, dict[str, str]]) -> None:
    assert (Path(python[1]["PYTHONPATH"]) / "passerelle/v1/py.typed").exists()
    assert (Path(python[1]["PYTHONPATH"]) / "passerelle/v1/compute_pb2_grpc.pyi").exists()


def test_the_example_of_its_readme_runs(
    python: tuple[Path, dict[str, str]], local_target: Target
) -> None:
    [example] = re.findall(r"```python\n(.*?)```", README, re.S)
    directory = Path(local_target.directory) / f"client-{uuid.uuid4()}"
    directory.mkdir()
    printed = run(
        python,
        example,
        PASSERELLE_ADDRESS=urlsplit(local_target.base_url).netloc,
        PASSERELLE_TOKEN=local_target.token(),
        PASSERELLE_DIRECTORY=str(directory),
    )
    lines = [line for line in printed.splitlines() if line]
    assert re.fullmatch(r"submitted \d+", lines[0])
    assert lines[1:3] == ["ended SUCCEEDED", "hello"]
    assert "hello.txt 6" in lines
    assert lines[-1] == "NOT_FOUND NOT_FOUND"

"""A client in Go: the contracts are turned into Go by protoc's plugins, compiled, and called on a running site.

Go fetches modules by the versions and sums in `go/`, and keeps what it compiled. Where there is no Go, the test is
skipped, or fails in the strict mode.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

import google.api
import pytest
from grpc_tools import protoc

from tests import real
from tests.e2e.target import Target

REPO = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("go")
PACKAGE = "passerelle.dev/client/v1"
BUILD_SECONDS = 900
PLUGINS = (
    "google.golang.org/protobuf/cmd/protoc-gen-go",
    "google.golang.org/grpc/cmd/protoc-gen-go-grpc",
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled program."""
    go = shutil.which("go", path=f"{os.environ['PATH']}:/usr/local/go/bin")
    if go is None:
        real.missing("Go", "there is no Go here")
    real.exercised("Go", subprocess.check_output((go, "env", "GOVERSION"), text=True).strip())
    source = tmp_path_factory.mktemp("go")
    shutil.copytree(PROGRAM, source, dirs_exist_ok=True)
    build(go, source, *PLUGINS)
    generate(source)
    build(go, source, ".")
    return source / "bin" / "client"


def build(go: str, source: Path, *packages: str) -> None:
    """Compile into `bin`, with the modules that go.mod and go.sum name."""
    done = subprocess.run(
        (go, "build", "-mod=readonly", "-buildvcs=false", "-o", "bin/", *packages),
        cwd=source,
        env={**os.environ, "GOFLAGS": "", "CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def generate(source: Path) -> None:
    """The Go package of `passerelle.v1` in `v1`, as anybody makes it who has the contracts."""
    out = source / "v1"
    out.mkdir()
    contracts = sorted((REPO / "proto/passerelle/v1").glob("*.proto"))
    names = [path.relative_to(REPO / "proto").as_posix() for path in contracts]
    options = ",".join(("module=" + PACKAGE, *(f"M{name}={PACKAGE}" for name in names)))
    plugins = (f"--plugin={source / 'bin' / Path(plugin).name}" for plugin in PLUGINS)
    flags = (
        f"--{kind}_{what}"
        for kind in ("go", "go-grpc")
        for what in (f"out={out}", f"opt={options}")
    )
    run_protoc([*plugins, *flags, *names])


def run_protoc(arguments: Sequence[str]) -> None:
    """protoc with the paths of all contracts."""
    googleapis = Path(next(iter(google.api.__path__))).parents[1]
    roots = (REPO / "proto", googleapis, files("grpc_tools") / "_proto")
    assert protoc.main(["protoc", *(f"-I{root}" for root in roots), *arguments]) == 0


def test_a_client_in_go_calls_the_site(client: Path, local_target: Target) -> None:
    environment = {
        "PASSERELLE_ADDRESS": urlsplit(local_target.base_url).netloc,
        "PASSERELLE_TOKEN": local_target.token(),
    }
    done = subprocess.run(
        (client,), env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        ["system local", "NotFound NOT_FOUND"],
    ), done.stderr

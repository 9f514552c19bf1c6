"""The house keeps its shape: one namespace, and imports that only point where they may."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
ROOTS = sorted(
    {path.parent.relative_to(REPO).as_posix() for path in REPO.glob("services/*/passerelle")}
    | {"proto/gen"}
)
SERVICES = sorted(path.name for path in REPO.glob("services/*") if path.name != "runtime")
MODULES = sorted(REPO.glob("services/*/passerelle/**/*.py"))
BANNED_NAMES = {"utils", "util", "helpers", "common", "manager", "misc"}


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, absolute."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def test_no_root_claims_the_namespace() -> None:
    assert not [root for root in ROOTS if (REPO / root / "passerelle" / "__init__.py").exists()]


def test_the_build_knows_every_root() -> None:
    build = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert sorted(build["dev-mode-dirs"]) == ROOTS
    assert set(build["targets"]["wheel"]["packages"]) == {f"{root}/passerelle" for root in ROOTS}


@pytest.mark.parametrize("service", [*SERVICES, "runtime"])
def test_every_package_is_typed(service: str) -> None:
    assert (REPO / f"services/{service}/passerelle/{service}/py.typed").exists()


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(REPO).as_posix())
def test_a_service_imports_no_other_service(module: Path) -> None:
    own = module.relative_to(REPO).parts[1]
    foreign = {f"passerelle.{name}" for name in SERVICES if name != own}
    wrong = [
        name
        for name in imports(module)
        if any(name == other or name.startswith(f"{other}.") for other in foreign)
    ]
    assert not wrong, f"{module} imports {wrong}; services talk gRPC"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(REPO).as_posix())
def test_no_module_is_a_grab_bag(module: Path) -> None:
    assert module.stem not in BANNED_NAMES


def test_contracts_stay_at_the_edge() -> None:
    """The domain speaks dataclasses; only the adapters, the runtime and the compositions know protobuf."""
    edge = {"server", "firecrest", "main", "messages", "contracts", "probe"}
    wrong = [
        path.relative_to(REPO).as_posix()
        for path in MODULES
        if path.parts[-3] != "runtime"
        and "runtime" not in path.relative_to(REPO).parts
        and not any(word in path.stem for word in edge)
        and any(name.endswith(("_pb2", "_pb2_grpc")) for name in _imported_names(path))
    ]
    assert not wrong


def _imported_names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)

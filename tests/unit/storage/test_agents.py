"""The helper and the programs of transfer jobs run where nothing is installed but an old Python."""

import ast
import sys
from importlib.resources import files
from pathlib import Path

import pytest

_PACKAGE = "passerelle.storage.staging"
# What is shipped with every one of them (staging/programs.py).
_SHARED = tuple(
    f"passerelle.storage.remote.{name}" for name in ("outcome", "boundary", "changing.targets")
)
_OLDEST = (3, 6)
_TOP = Path(str(files(_PACKAGE)))
SOURCES = {
    source.relative_to(_TOP).as_posix(): source.read_text()
    for source in sorted(_TOP.glob("**/remote/*.py"))
}


_HELPER = Path(str(files("passerelle.storage.remote")))
ALL = {
    str(source.relative_to(_HELPER)): source.read_text()
    for source in sorted(_HELPER.glob("**/*.py"))
} | SOURCES


@pytest.mark.parametrize("name", ALL)
def test_the_oldest_python_understands_it(name: str) -> None:
    ast.parse(ALL[name], name, feature_version=_OLDEST)


@pytest.mark.parametrize("name", SOURCES)
def test_it_imports_the_standard_library_and_its_neighbours(name: str) -> None:
    for module in _imported(ast.parse(SOURCES[name])):
        neighbour = module.startswith(_PACKAGE + ".") or module in _SHARED
        assert neighbour or module.split(".")[0] in sys.stdlib_module_names


def _imported(tree: ast.Module) -> list[str]:
    """What it imports, apart from what only type checkers read."""
    collected: list[str] = []
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            collected += [alias.name for alias in statement.names]
        if isinstance(statement, ast.ImportFrom):
            collected.append(statement.module or "")
    return collected

"""Every file, folder and module of ours that the docs, docstrings and comments name exists."""

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path

REPO = Path(__file__).parents[2]
TOP = ("bench", "deploy", "docs", "examples", "proto", "services", "tests")
FILES = sorted(
    [path for path in REPO.iterdir() if path.is_file()]
    + [path for top in TOP for path in (REPO / top).rglob("*") if path.is_file()]
)
PATHS = [path.relative_to(REPO).as_posix() for path in FILES if "__pycache__" not in path.parts]
WRITTEN = [
    path
    for path in PATHS
    if path.endswith((".py", ".md", ".lua", ".proto"))
    and not path.startswith(("proto/gen/", "proto/google/"))
]
_PATH = re.compile(
    r"(?<![\w/.:<{])(?!google/|envoy/service/)[\w*][\w/.*-]*\.(?:py|lua|proto)\b(?![\w/.])"
)
_FOLDER = re.compile(r"`((?:[a-z][\w.-]*/){2,})`")
_MODULE = re.compile(
    rf"\bpasserelle\.(?:{'|'.join(p.name for p in REPO.glob('services/*'))})\.[\w.]+"
)
_COMMENTS = {"lua": "--", "proto": "//"}
FOREIGN = {
    "src/firecrest/config.py",  # FirecREST
    "config/utilities/firecrest_slurm.py",  # ReFrame's
    "demo-exercises/examples/direct_api_compute_example.py",  # of CSCS' FirecREST material
    "streamer_client.py",  # firecrest-streamer
    "streamer_core.py",
}
"""Files of others, and of the examples in the docs."""


def written(path: str) -> Iterator[str]:
    """What people read in a file: its lines, or of a program its docstrings and comments."""
    text = (REPO / path).read_text()
    if not path.endswith(".py"):
        mark = _COMMENTS.get(path.rpartition(".")[2], "")
        yield from (line for line in text.splitlines() if mark in line)
        return
    yield from (line[line.index("#") :] for line in text.splitlines() if "#" in line)
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(docstring))):
                yield docstring


def endings(path: str) -> Iterator[str]:
    """The path, and what is left of it without its first folders, down to the file's name."""
    parts = path.split("/")
    yield from ("/".join(parts[start:]) for start in range(len(parts)))


ENDINGS = {ending for path in PATHS for ending in endings(path)}
FOLDERS = {
    f"{ending}/"
    for path in PATHS
    for parent in Path(path).parents
    for ending in endings(parent.as_posix())
}


def exists(name: str) -> bool:
    """Whether a file of ours has this path, or ends in it; `*` stands for anything."""
    if "*" not in name:
        return name in ENDINGS
    return any(fnmatch(ending, name) for ending in ENDINGS)


def resolves(name: str) -> bool:
    """Whether a dotted name is a module of ours, or something in one."""
    module, _, attribute = name.rpartition(".")
    try:
        import_module(name)
    except ImportError:
        return "." in module and (resolves(module) and hasattr(import_module(module), attribute))
    return True


def missing(path: str) -> set[str]:
    """The files, folders and modules that a text names as ours, and that do not exist."""
    text = "\n".join(written(path))
    files = {name for name in _PATH.findall(text) if name not in FOREIGN and not exists(name)}
    modules = {name.rstrip(".") for name in _MODULE.findall(text)}
    folders = set(_FOLDER.findall(text)) - FOLDERS
    return files | folders | {name for name in modules if not resolves(name)}


def test_the_files_and_modules_that_texts_name_exist() -> None:
    assert {path: names for path in WRITTEN if (names := missing(path))} == {}


def test_the_check_finds_what_is_missing() -> None:
    assert _PATH.findall("see `gateway/no_such.py`, a.lua; and http://x.org/y.py") == [
        "gateway/no_such.py",
        "a.lua",
    ]
    assert exists("runtime/errors.py")
    assert exists("tests/unit/*.py")
    assert not exists("gateway/no_such.py")
    assert not exists("rors.py")
    assert resolves("passerelle.runtime.errors.ApiError")
    assert not resolves("passerelle.runtime.no_such")

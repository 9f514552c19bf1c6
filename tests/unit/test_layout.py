"""The house keeps its shape: which folder may import which, how many modules one holds, and one namespace.

`FOLDERS` is the only place where the import rules stand. docs/architecture.md quotes it, and with README.md the first
lines of the folders' docstrings; `make docs` writes them there.
"""

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
SERVICES = sorted(path.name for path in REPO.glob("services/*"))
MODULES = sorted(REPO.glob("services/*/passerelle/**/*.py"))
BANNED_NAMES = {"utils", "util", "helpers", "common", "manager", "misc"}
MOST_MODULES = 15
"""In one folder, besides `__init__.py`."""

FOLDERS: dict[str, str] = {
    "runtime": "",
    "runtime.config": "runtime",
    "runtime.ssh": "runtime runtime.config",
    "runtime.pipeline": "proto.v1 runtime",
    "surfaces": "",
    "surfaces.firecrest": "runtime",
    "surfaces.native": "runtime",
    "runtime.serving": "proto.v1 runtime runtime.config runtime.pipeline runtime.ssh",
    "auth": (
        "auth.api_keys auth.authorizers auth.credentials auth.tokens proto.v1 runtime runtime.config"
    ),
    "auth.api_keys": "auth.tokens runtime runtime.config",
    "auth.authorizers": "auth.tokens runtime.config",
    "auth.credentials": "auth.tokens runtime runtime.config",
    "auth.envoy": "auth.tokens proto.edge runtime runtime.pipeline",
    "auth.native": "auth auth.credentials auth.tokens proto.v1 runtime",
    "auth.tokens": "runtime runtime.config",
    "cli": "",
    "cli.check": (
        "cli.up gateway.directory proto.v1 runtime runtime.config runtime.serving runtime.ssh"
    ),
    "cli.import_firecrest": "runtime.config",
    "cli.pages": "gateway gateway.directory runtime.config",
    "cli.up": "gateway gateway.envoy runtime.config runtime.pipeline runtime.serving",
    "compute": "runtime runtime.config",
    "compute.firecrest": "compute proto.firecrest runtime surfaces.firecrest",
    "compute.native": "compute proto.v1 runtime",
    "compute.schedulers": "compute runtime",
    "compute.schedulers.command_line": "compute runtime runtime.config",
    "compute.schedulers.local": "compute runtime runtime.config",
    "compute.schedulers.local.remote": "",
    "compute.schedulers.slurm": "compute compute.schedulers.command_line runtime runtime.config",
    "development": "runtime.config runtime.serving",
    "gateway": "proto.v1 runtime runtime.config",
    "gateway.directory": "proto.v1 runtime runtime.config runtime.serving",
    "gateway.envoy": "gateway gateway.openapi runtime runtime.config",
    "gateway.firecrest": (
        "gateway.directory proto.firecrest runtime runtime.config surfaces.firecrest"
    ),
    "gateway.openapi": "gateway proto.v1 runtime",
    "gateway.native": "gateway.directory proto.v1 runtime runtime.config",
    "storage": "runtime runtime.config runtime.ssh storage.remote",
    "storage.access": "runtime runtime.config runtime.ssh storage storage.remote",
    "storage.commands": (
        "runtime runtime.ssh storage storage.access storage.remote storage.remote.reading"
    ),
    "storage.files": "runtime storage storage.access storage.remote storage.remote.changing",
    "storage.firecrest": (
        "proto.firecrest runtime runtime.config storage storage.files storage.jobs storage.staging "
        "surfaces.firecrest"
    ),
    "storage.jobs": (
        "proto.v1 runtime runtime.config runtime.serving storage storage.access "
        "storage.files storage.remote"
    ),
    "storage.native": (
        "proto.v1 runtime runtime.config storage storage.files storage.jobs storage.staging "
        "storage.transfers"
    ),
    "storage.remote": "",
    "storage.remote.changing": "storage.remote",
    "storage.remote.helper": "storage.remote",
    "storage.remote.reading": "storage.remote",
    "storage.staging": (
        "proto.v1 runtime runtime.config storage storage.files storage.jobs surfaces.firecrest"
    ),
    "storage.staging.remote": "storage.remote storage.remote.changing",
    "storage.staging.s3": (
        "proto.v1 runtime runtime.config storage.files storage.jobs storage.staging"
    ),
    "storage.staging.s3.remote": "storage.remote storage.remote.changing storage.staging.remote",
    "storage.staging.streamer": (
        "proto.v1 runtime runtime.config storage.files storage.jobs storage.staging"
    ),
    "storage.staging.streamer.remote": "storage.remote storage.staging.remote",
    "storage.staging.wormhole": (
        "proto.v1 runtime runtime.config storage.files storage.jobs storage.staging "
        "surfaces.firecrest"
    ),
    "storage.staging.wormhole.remote": "storage.remote.changing storage.staging.remote",
    "storage.transfers": (
        "runtime runtime.config storage storage.files storage.jobs storage.staging"
    ),
}
"""Each folder below `passerelle`, and all the folders that its modules import: no others, and none too many.

`proto.*` are the stubs made from the contracts. `SERVICE.main` is the one module of a service that puts its parts
together: it may import all folders of its own service, and needs no line here.
"""


QUOTING = {"docs/architecture.md": ("folders", "imports"), "README.md": ("folders",)}
"""The pages that quote the folders' purposes, or their imports, between marks."""


def folder_of(module: Path) -> str:
    """`storage.files` of services/storage/passerelle/storage/files/port.py; `storage.main` stands for itself."""
    parts = module.relative_to(REPO).with_suffix("").parts[3:]
    return ".".join(parts if len(parts) == 2 and parts[1] == "main" else parts[:-1])


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, absolute: `a.b` and, since names may be modules, `a.b.name`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


PLACES = {
    ".".join(module.relative_to(REPO).with_suffix("").parts[2:]).removesuffix(".__init__"): module
    for module in MODULES
}


def imported_folder(name: str) -> str | None:
    """The folder of ours that an imported name comes from."""
    if not name.startswith("passerelle."):
        return None
    for module in (name, name.rpartition(".")[0]):
        if module in PLACES:
            return folder_of(PLACES[module])
    return "proto." + name.split(".")[1]


def imported_folders(folder: str) -> set[str]:
    """All other folders that the modules of `folder` import."""
    names = (name for module in MODULES if folder_of(module) == folder for name in imports(module))
    return {result for name in names if (result := imported_folder(name)) not in (None, folder)}


@pytest.mark.parametrize("folder", sorted({folder_of(module) for module in MODULES}))
def test_a_folder_imports_what_it_may(folder: str) -> None:
    result = imported_folders(folder)
    if folder.endswith(".main"):
        service = folder.removesuffix("main")
        allowed = {name for name in FOLDERS if f"{name}.".startswith(service)}
        assert {
            name for name in result - allowed if not name.startswith(("runtime", "proto"))
        } == set()
    else:
        assert result == set(FOLDERS[folder].split())


def test_no_service_imports_another() -> None:
    for folder in FOLDERS:
        service = folder.split(".")[0]
        others = {name.split(".")[0] for name in FOLDERS[folder].split()} - {service}
        shared = {"runtime", "surfaces", "proto"}
        operator = {"gateway"} if service == "cli" else set()
        assert others <= ({"proto"} if service == "runtime" else shared | operator), folder


def test_no_folders_import_each_other() -> None:
    below = {folder: set(FOLDERS[folder].split()) & set(FOLDERS) for folder in FOLDERS}
    while leaves := [folder for folder, imported in below.items() if not imported]:
        for folder in leaves:
            del below[folder]
        below = {folder: imported - set(leaves) for folder, imported in below.items()}
    assert below == {}, "a cycle, and what imports it"


@pytest.mark.parametrize("folder", ["compute", "storage.files", "storage.transfers"])
def test_the_domain_uses_no_messages_of_the_contracts(folder: str) -> None:
    assert not [name for name in FOLDERS[folder].split() if name.startswith("proto.")]


def reached(folder: str) -> set[str]:
    """Every folder that the modules of `folder` import, or what those import, and so on."""
    collected: set[str] = set()
    pending = [folder]
    while pending:
        below = set(FOLDERS.get(pending.pop(), "").split()) - collected
        collected |= below
        pending += below
    return collected


@pytest.mark.parametrize("folder", FOLDERS)
def test_folders_form_no_cycle(folder: str) -> None:
    assert folder not in reached(folder)


def test_no_folder_is_listed_that_does_not_exist() -> None:
    assert set(FOLDERS) <= {folder_of(module) for module in MODULES}


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_is_small_and_says_what_belongs_in_it(folder: str) -> None:
    modules = [module for module in MODULES if folder_of(module) == folder]
    assert len([module for module in modules if module.name != "__init__.py"]) <= MOST_MODULES
    init = next(module for module in modules if module.name == "__init__.py")
    tree = ast.parse(init.read_text())
    assert ast.get_docstring(tree)


def test_no_root_claims_the_namespace() -> None:
    assert not [root for root in ROOTS if (REPO / root / "passerelle" / "__init__.py").exists()]


def test_the_build_knows_every_root() -> None:
    build = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert sorted(build["dev-mode-dirs"]) == ROOTS
    assert set(build["targets"]["wheel"]["packages"]) == {f"{root}/passerelle" for root in ROOTS}


@pytest.mark.parametrize("service", SERVICES)
def test_every_package_is_typed(service: str) -> None:
    assert (REPO / f"services/{service}/passerelle/{service}/py.typed").exists()


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(REPO).as_posix())
def test_no_module_is_a_grab_bag(module: Path) -> None:
    assert module.stem not in BANNED_NAMES


def purpose(folder: str) -> str:
    """The first line of a folder's docstring: what belongs in it."""
    init = PLACES[f"passerelle.{folder}"]
    return (ast.get_docstring(ast.parse(init.read_text())) or "").partition("\n")[0]


def tree() -> str:
    """All folders below `passerelle`, indented, each with what belongs in it."""
    names = {folder: "  " * folder.count(".") + folder.rpartition(".")[2] for folder in FOLDERS}
    width = max(map(len, names.values())) + 2
    lines = (f"{names[folder]:<{width}}{purpose(folder)}" for folder in sorted(FOLDERS))
    return "\n".join(("```", *lines, "```"))


def import_table() -> str:
    """`FOLDERS` as a table."""
    rows = (
        f"| `{folder}` | {' '.join(f'`{name}`' for name in FOLDERS[folder].split())} |"
        for folder in sorted(FOLDERS)
    )
    return "\n".join(("| folder | imports |", "|---|---|", *rows))


def with_quotes(page: str) -> str:
    """The page's text with the newest tree and table between their marks."""
    text = (REPO / page).read_text()
    for name in QUOTING[page]:
        before, begin, rest = text.partition(f"<!-- begin {name} -->\n")
        _, end, after = rest.partition(f"<!-- end {name} -->")
        assert begin, f"{page} has no place for {name}"
        assert end, f"{page} has no place for {name}"
        text = f"{before}{begin}{tree() if name == 'folders' else import_table()}\n{end}{after}"
    return text


@pytest.mark.parametrize("page", QUOTING)
def test_pages_quote_the_folders_and_their_imports(page: str) -> None:
    assert (REPO / page).read_text() == with_quotes(page), "run `make docs`"


if __name__ == "__main__":
    for page in QUOTING:
        (REPO / page).write_text(with_quotes(page))

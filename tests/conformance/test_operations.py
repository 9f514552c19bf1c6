"""Every operation on files, by the helper and by plain commands: the same arguments, the same results, one boundary.

`FileOperations` says what there is. An operation without a case here, without a namesake in the helper's table, or with
other arguments in one of its two implementations fails these tests.
"""

import ast
import errno
import hashlib
import inspect
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import pytest

from passerelle.runtime.errors import Unsupported
from passerelle.storage.access.helper import MODULES, RemoteHelper
from passerelle.storage.access.helper_operations import HelperOperations
from passerelle.storage.access.operations import (
    FileOperations,
    PackSource,
    Refusal,
    UnpackSource,
    UnpackTarget,
    WriteTarget,
)
from passerelle.storage.commands.plain_commands import PlainCommands
from passerelle.storage.errors import FileError, Outside
from passerelle.storage.remote.registry import NOT_FOLLOWED, OPERATIONS, PATHS
from passerelle.storage.values import (
    REPLACE,
    Excerpt,
    FileInfo,
    Listing,
    Progress,
    Usage,
    Walk,
    WriteConditions,
    WriteMode,
    Written,
    finished,
)
from tests.unit.storage.world import World, remote

pytestmark = pytest.mark.usefixtures("alice")

STORAGE = Path(inspect.getfile(FileOperations)).parents[1]
NAMES = sorted(name for name in vars(FileOperations) if not name.startswith("_"))
IMPLEMENTATIONS: Sequence[Any] = (HelperOperations, PlainCommands)
ONLY_HELPER = ("unpack_target", "place_tree", "write_file")
_SHIPPED = [f"passerelle.storage.remote.{name}" for name in MODULES]
for module in _SHIPPED:
    import_module(module)
STALL = 20.0  # seconds
CONTENT = b"one\ntwo\nthree\n"


def test_the_helper_registers_every_operation_and_no_other() -> None:
    assert sorted(OPERATIONS) == NAMES


def test_operations_are_registered_only_by_modules_of_the_helper() -> None:
    assert {function.__module__ for function in OPERATIONS.values()} <= set(_SHIPPED)


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_that_is_a_path_is_checked(name: str) -> None:
    arguments = inspect.signature(OPERATIONS[name]).parameters
    assert set(PATHS[name]) == {"path", "target"} & set(arguments)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_arguments_and_results_are_those_of_the_protocol(implementation: Any, name: str) -> None:
    signature = inspect.signature(getattr(FileOperations, name))
    offered = inspect.signature(getattr(implementation, name))
    assert list(offered.parameters.values()) == list(signature.parameters.values())


def test_operations_are_named_by_strings_on_the_wire_alone() -> None:
    wire = {STORAGE / "access" / "helper_operations.py", *(STORAGE / "remote").rglob("*.py")}
    names = {
        name for name in NAMES if "_" in name
    }  # `read` and `copy` are words of other things, too
    assert names
    for path in sorted(set(STORAGE.rglob("*.py")) - wire):
        tree = ast.parse(path.read_text())
        constants = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert not names & constants, path


def test_the_helper_is_asked_by_its_client_alone() -> None:
    asking = {
        path.name
        for path in STORAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and any(n.name == "RemoteHelper" for n in node.names)
    }
    assert asking == {"helper_operations.py", "system_access.py"}
    tree = ast.parse((STORAGE / "access" / "system_access.py").read_text())
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, (ast.Attribute, ast.Name))
        and getattr(node.value, "attr", getattr(node.value, "id", ""))
        in ("_helper", "RemoteHelper")
    }
    assert used == {"alive", "start"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A filesystem with a link out of it, and a secret beside it."""
    root = tmp_path / "root"
    (root / "tree" / "deep").mkdir(parents=True)
    (root / "file").write_bytes(CONTENT)
    (root / "tree" / "inner").write_text("inner")
    (root / "link").symlink_to("file")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (root / "out").symlink_to(outside)
    return root


@pytest.fixture
async def world(root: Path) -> AsyncIterator[World]:
    async with remote(root) as world:
        yield world


async def helper_on(world: World) -> FileOperations:
    connection = await world.pool.connection(world.system.name)
    return HelperOperations(await RemoteHelper.start(connection, world.system.roots), STALL)


async def commands_on(world: World) -> FileOperations:
    connection = await world.pool.connection(world.system.name)
    return PlainCommands(connection, world.system.roots, STALL)


BOTH = pytest.mark.parametrize("made", [helper_on, commands_on], ids=["helper", "commands"])
Made = Callable[[World], Awaitable[FileOperations]]


async def stat(files: FileOperations, root: Path) -> None:
    info = await files.stat(f"{root}/link", dereference=False)
    assert (info.letter, info.target, info.name) == ("l", "file", f"{root}/link")
    info = await files.stat(f"{root}/link", dereference=True)
    assert (info.letter, info.target, info.size) == ("-", None, len(CONTENT))


async def row(files: FileOperations, root: Path) -> None:
    os.utime(root / "file", ns=(-1, 1_700_000_000_999_999_999))
    for path in (f"{root}/link", f'{root}/o\udcffdd "name"'):
        os.close(os.open(os.fsencode(path), os.O_CREAT))
        for dereference in (False, True):
            info = await files.stat(path, dereference=dereference)
            columns = [name for name in dir(info) if isinstance(getattr(info, name), int | str)]
            columns = [name for name in columns if not name.startswith("_") and name != "version"]
            fields = tuple((f'{name} %s "', name) for name in columns)
            row = orjson.loads(await files.row(path, fields, dereference=dereference))
            assert row == {key: getattr(info, name) for key, name in fields}
    compact = await files.row(f"{root}/file", (("s", "size"), ("n", "links")), dereference=False)
    assert compact == b'{"s":%d,"n":1}' % len(CONTENT)


async def stat_many(files: FileOperations, root: Path) -> None:
    paths = [f"{root}/file", f"{root}/nope", f"{root}/out/secret", f"{root}/tree"]
    answers = await files.stat_many(paths, dereference=True)
    assert [type(answer) for answer in answers] == [FileInfo, FileError, Outside, FileInfo]
    assert answers[0] == await files.stat(paths[0], dereference=True)


async def list_(files: FileOperations, root: Path) -> None:
    entries = await files.list(str(root), Listing(pattern="*i*", count=2), 1 << 20)
    assert [entry.name for entry in entries] == ["file", "link"]
    [itself] = await files.list(f"{root}/file", Listing(), 1 << 20)
    assert itself == await files.stat(f"{root}/file", dereference=False)
    with pytest.raises(FileError) as raised:
        await files.list(str(root), Listing(), 10)
    assert raised.value.step == "limit"


async def table(files: FileOperations, root: Path) -> None:
    columns = (("n", "name"), ("bytes", "size_text"), ("t", "letter"))
    rows = orjson.loads(await files.table(f"{root}/tree", Listing(), columns, 1 << 20))
    size = str((root / "tree" / "deep").stat().st_size)
    assert rows == [{"n": "deep", "bytes": size, "t": "d"}, {"n": "inner", "bytes": "5", "t": "-"}]


async def walk(files: FileOperations, root: Path) -> None:
    async with aclosing(files.walk(str(root), Walk(max_depth=2))) as batches:
        names = {info.name async for batch in batches for info in batch}
    assert names == {"file", "link", "out", "tree", "tree/deep", "tree/inner"}


async def read(files: FileOperations, root: Path) -> None:
    assert await files.read(f"{root}/file", 4, 5, None) == CONTENT[4:9]
    with pytest.raises(FileError) as raised:
        await files.read(f"{root}/file", 0, 5, len(CONTENT) - 1)
    assert raised.value.step == "limit"


async def excerpt(files: FileOperations, root: Path) -> None:
    last = Excerpt("lines", 1, from_end=True, before=False)
    assert await files.excerpt(f"{root}/file", last, 100) == b"three\n"


async def hold(files: FileOperations, root: Path) -> None:
    async with files.hold(f"{root}/link") as held:
        assert held.info.inode == (root / "file").stat().st_ino
        if held.at:
            os.rename(root / "file", root / "moved")
            assert Path(held.at).read_bytes() == CONTENT


async def checksum(files: FileOperations, root: Path) -> None:
    for algorithm in ("sha256", "md5"):
        expected = hashlib.new(algorithm, CONTENT).hexdigest()
        assert await finished(files.checksum(f"{root}/file", algorithm)) == expected


async def measure(files: FileOperations, root: Path) -> None:
    usage = await finished(files.measure(f"{root}/tree"))
    assert isinstance(usage, Usage)
    assert usage.entries == 3
    assert usage.size >= 5


async def quota(files: FileOperations, root: Path) -> None:
    answer = await files.quota(str(root))
    assert answer.filesystem.limit == os.statvfs(root).f_blocks * os.statvfs(root).f_frsize
    assert answer.user is None


async def make_directory(files: FileOperations, root: Path) -> None:
    made = await files.make_directory(f"{root}/a/b", parents=True)
    assert made == await files.stat(f"{root}/a/b", dereference=False)
    with pytest.raises(FileError):
        await files.make_directory(f"{root}/a/b", parents=False)


async def make_symlink(files: FileOperations, root: Path) -> None:
    await files.make_symlink(f"{root}/new", "tree/inner")
    assert os.readlink(root / "new") == "tree/inner"


async def run_program(files: FileOperations, root: Path) -> None:
    argv = ("sh", "-c", 'echo "$1" >&2; exec cat "$1"', "sh")
    output = await files.run_program(f"{root}/file", argv, dereference=False)
    assert (output.status, output.stdout) == (0, CONTENT.decode())
    assert output.stderr == f"{root}/file\n"


async def copy(files: FileOperations, root: Path) -> None:
    steps = files.copy(f"{root}/tree", f"{root}/copy", overwrite=False, dereference=False)
    assert await finished(steps) == await files.stat(f"{root}/copy", dereference=False)
    assert (root / "copy" / "inner").read_text() == "inner"
    with pytest.raises(FileError) as raised:
        await finished(
            files.copy(f"{root}/tree", f"{root}/tree/x", overwrite=False, dereference=False)
        )
    assert raised.value.step == "itself"


async def move(files: FileOperations, root: Path) -> None:
    steps = files.move(f"{root}/tree", f"{root}/moved", overwrite=False)
    assert await finished(steps) == await files.stat(f"{root}/moved", dereference=False)
    assert not (root / "tree").exists()


async def remove(files: FileOperations, root: Path) -> None:
    async with aclosing(files.remove(f"{root}/out")) as steps:
        *_, last = [step async for step in steps]
    assert isinstance(last, Progress)
    assert last.finished
    await finished(files.remove(f"{root}/tree"))
    assert sorted(os.listdir(root)) == ["file", "link"]


async def write_target(files: FileOperations, root: Path) -> None:
    version = (await files.stat(f"{root}/file", dereference=False)).version
    assert await files.write_target(f"{root}/link") == WriteTarget(f"{root}/file", version)
    assert await files.write_target(f"{root}/new") == WriteTarget(f"{root}/new", None)


async def begin_part(files: FileOperations, root: Path) -> None:
    for name in (".old.passerelle-part", ".young.passerelle-part"):
        (root / name).touch()
    os.utime(root / ".old.passerelle-part", (0, 0))
    part = root / ".new.passerelle-part"
    await files.begin_part(f"{root}/new", str(part), 3600)
    assert part.stat().st_mode & 0o777 == 0o600
    left = sorted(path.name for path in root.glob(".*"))
    assert left == [".new.passerelle-part", ".young.passerelle-part"]


async def place_part(files: FileOperations, root: Path) -> None:
    path, part = f"{root}/file", root / ".file.passerelle-part"
    part.write_bytes(b"new")
    version = (await files.stat(path, dereference=False)).version
    refusals = {
        (7, REPLACE): Refusal("size", "3"),
        (3, WriteConditions(sha256="0" * 64)): Refusal(
            "sha256", hashlib.sha256(b"new").hexdigest()
        ),
        (3, WriteConditions(if_match="other")): Refusal("version", version),
    }
    for (size, conditions), refusal in refusals.items():
        assert await finished(files.place_part(path, str(part), size, conditions)) == refusal
    placed = await finished(files.place_part(path, str(part), 3, WriteConditions(if_match=version)))
    assert placed == (await files.stat(path, dereference=False)).version
    assert (root / "file").read_bytes() == b"new"
    with pytest.raises(FileError) as raised:
        await finished(files.place_part(path, str(part), 3, REPLACE))
    assert raised.value.step == "part"


async def write_file(files: FileOperations, root: Path) -> None:
    path = f"{root}/link"
    old = (await files.stat(path, dereference=True)).version
    refusals = {
        WriteConditions(sha256="0" * 64): Refusal("sha256", hashlib.sha256(b"new").hexdigest()),
        WriteConditions(if_match="other"): Refusal("version", old),
    }
    for conditions, refusal in refusals.items():
        assert await files.write_file(path, b"new", conditions) == refusal
    assert (root / "file").read_bytes() == CONTENT
    for content, mode, left in (
        (b"new", WriteMode.OVERWRITE, b"new"),
        (b"", WriteMode.OVERWRITE, b""),
        (bytes(range(256)), WriteMode.APPEND, bytes(range(256))),
        (b"er", WriteMode.APPEND, bytes(range(256)) + b"er"),
    ):
        digest = hashlib.sha256(content).hexdigest()
        done = await files.write_file(path, content, WriteConditions(mode, sha256=digest))
        version = (await files.stat(path, dereference=True)).version
        assert done == Written(len(content), digest, version)
        assert (root / "file").read_bytes() == left
    hasty = await files.write_file(path, b"x", WriteConditions(), digest=False)
    version = (await files.stat(path, dereference=True)).version
    assert hasty == Written(1, "", version)
    with pytest.raises(FileError) as raised:
        await files.write_file(f"{root}/file", b"x", WriteConditions(WriteMode.CREATE))
    assert raised.value.errno == errno.EEXIST
    assert sorted(os.listdir(root)) == ["file", "link", "out", "tree"]


async def make_part(files: FileOperations, root: Path) -> None:
    await files.make_part(f"{root}/part")
    assert (root / "part").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileError):
        await files.make_part(f"{root}/part")


async def settled_size(files: FileOperations, root: Path) -> None:
    assert await files.settled_size(f"{root}/file") == (root / "file").stat().st_size > 0
    with pytest.raises(FileError) as raised:
        await files.settled_size(f"{root}/absent")
    assert raised.value.errno == errno.ENOENT


async def write_part(files: FileOperations, root: Path) -> None:
    await files.write_part(f"{root}/file", 4, b"\0\xff!")
    assert (root / "file").read_bytes() == b"one\n\0\xff!\nthree\n"


async def truncate_part(files: FileOperations, root: Path) -> None:
    await files.truncate_part(f"{root}/file", 3)
    assert (root / "file").read_bytes() == b"one"


async def remove_part(files: FileOperations, root: Path) -> None:
    for _ in range(2):
        await files.remove_part(f"{root}/file")
    assert not (root / "file").exists()


async def pack_source(files: FileOperations, root: Path) -> None:
    source = await files.pack_source(f"{root}/link", dereference=False)
    assert source == PackSource(f"{root}/file", str(root), False)
    source = await files.pack_source(f"{root}/tree", dereference=True)
    assert source == PackSource(f"{root}/tree", str(root), True)


async def unpack_source(files: FileOperations, root: Path) -> None:
    assert await files.unpack_source(f"{root}/link") == UnpackSource(
        f"{root}/file", truncated=False
    )


async def unpack_target(files: FileOperations, root: Path) -> None:
    assert await files.unpack_target(f"{root}/tree") == UnpackTarget(f"{root}/tree", exists=True)
    assert await files.unpack_target(f"{root}/new") == UnpackTarget(f"{root}/new", exists=False)


async def place_tree(files: FileOperations, root: Path) -> None:
    part = root / ".part"
    (part / "deep").mkdir(parents=True)
    (part / "link").symlink_to("/")
    where = (f"{root}/tree", str(part))
    with pytest.raises(FileError) as raised:
        await finished(files.place_tree(*where, overwrite=False, any_links=False))
    assert raised.value.step == "link"
    async with aclosing(files.place_tree(*where, overwrite=False, any_links=True)) as steps:
        *_, last = [step async for step in steps]
    assert (last.entries, last.finished) == (2, True)
    assert sorted(os.listdir(root / "tree")) == ["deep", "inner", "link"]


Case = Callable[[FileOperations, Path], Awaitable[None]]
CASES: Mapping[str, Case] = {
    case.__name__.rstrip("_"): case
    for case in (
        *(stat, row, stat_many, list_, table, walk, read, excerpt, hold, checksum, measure, quota),
        *(make_directory, make_symlink, run_program, copy, move, remove, write_target),
        *(begin_part, place_part, make_part, write_file, settled_size, write_part),
        *(truncate_part, remove_part),
        *(pack_source, unpack_source, unpack_target, place_tree),
    )
}


def test_every_operation_has_a_case() -> None:
    assert sorted(CASES) == NAMES


@BOTH
@pytest.mark.parametrize("name", NAMES)
async def test_an_operation_does_what_it_says(
    made: Made, name: str, world: World, root: Path
) -> None:
    files = await made(world)
    if made is commands_on and name in ONLY_HELPER:
        with pytest.raises(Unsupported):
            await CASES[name](files, root)
    else:
        await CASES[name](files, root)


VALUES: Mapping[str, object] = {
    "digest": True,
    "dereference": True,
    "listing": Listing(dereference=True),
    "columns": (("n", "name"),),
    "limit": 100,
    "walk": Walk(dereference=True),
    "offset": 0,
    "length": 1,
    "excerpt": Excerpt("bytes", 1, from_end=False, before=True),
    "algorithm": "sha256",
    "parents": True,
    "argv": ("cat",),
    "overwrite": True,
    "stale": 0.0,
    "size": 0,
    "content": b"",
    "conditions": REPLACE,
    "any_links": True,
}
"""What else operations are asked with: links are followed wherever that can be asked for."""

PATH_ARGUMENTS = [(name, field, kind) for name in NAMES for field, kind in PATHS[name].items()]


async def ended(answer: Any) -> None:
    """Wait for an operation, whichever way it answers."""
    if inspect.isawaitable(answer):
        await answer
    elif hasattr(answer, "__aenter__"):
        async with answer:
            pass
    else:
        async with aclosing(answer):
            async for _ in answer:
                pass


@BOTH
@pytest.mark.parametrize(("name", "field", "kind"), PATH_ARGUMENTS)
async def test_no_path_leads_out(
    made: Made, name: str, field: str, kind: str, world: World, root: Path
) -> None:
    """Whatever argument it is: the link itself where it is followed, and what lies behind it where it is not."""
    files = await made(world)
    given = {**VALUES, "path": f"{root}/file", "target": f"{root}/new", "part": f"{root}/part"}
    given[field] = f"{root}/out" if kind not in (NOT_FOLLOWED,) else f"{root}/out/secret"
    signature = list(inspect.signature(getattr(FileOperations, name)).parameters)[1:]
    operation = getattr(files, name)
    positional = [
        p for p in inspect.signature(operation).parameters.values() if p.kind is not p.KEYWORD_ONLY
    ]
    rest = {key: given[key] for key in signature[len(positional) :]}
    expected = Unsupported if made is commands_on and name in ONLY_HELPER else Outside
    with pytest.raises(expected) as raised:
        await ended(operation(*(given[p.name] for p in positional), **rest))
    if isinstance(raised.value, Outside):
        assert raised.value.fields[0].name == field
    assert os.listdir(root.parent / "outside") == ["secret"]
    assert (root.parent / "outside" / "secret").read_text() == "secret"

"""AiiDA's FirecREST transport, unchanged: the cycle of put, list, copy, glob and get on the real Slurm.

It lives in a virtual environment of its own (`aiida_transport.py` says why), made when it is not there.
PASSERELLE_TEST_AIIDA=PYTHON uses another one.
"""

import json
import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.cluster.configuration import cluster_site
from deploy.install import make_environment
from tests import real
from tests.cluster import Cluster
from tests.e2e.sites import S3_KEY, staging_by
from tests.minio import MinioServer
from tests.stack import running_site

TOP = Path(__file__).parents[2]
REQUIREMENTS = ("aiida-firecrest==1.0.0", "aiida-core==2.9.4", "pyfirecrest==3.10.0")
INSTALL_SECONDS = 600
HOME = "/home/alice"


class TransportError(Exception):
    """What a method of the transport raised: the names of the error's classes, and its text."""

    def __init__(self, classes: list[str], text: str) -> None:
        super().__init__(f"{classes[0]}: {text}")
        self.classes = classes


class Transport:
    """AiiDA's transport in its own process; every method of it can be called."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def __getattr__(self, method: str) -> Any:
        """The transport's method of that name; it raises TransportError for what it raises there."""

        def call(*arguments: object, **named: object) -> Any:
            self.say([method, [str(a) if isinstance(a, Path) else a for a in arguments], named])
            return self.heard()

        return call

    def set(self, attribute: str, value: object) -> None:
        """Set an attribute of the transport."""
        self.say(["__setattr__", [attribute, value], {}])
        self.heard()

    def say(self, question: object) -> None:
        """Send one line."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()

    def heard(self) -> Any:
        """The next answer."""
        assert self._process.stdout is not None
        answer = json.loads(self._process.stdout.readline())
        if "raised" in answer:
            raise TransportError(answer["raised"], answer["text"])
        return answer["result"]


@pytest.fixture(scope="session")
def aiida_python() -> str:
    """An interpreter that has AiiDA."""
    python = os.environ.get("PASSERELLE_TEST_AIIDA") or _made(TOP / ".venv-aiida")
    program = "from importlib.metadata import version; print(version('aiida-firecrest'))"
    done = subprocess.run((python, "-c", program), capture_output=True, text=True, check=True)
    real.exercised("AiiDA", f"aiida-firecrest {done.stdout.strip()}")
    return python


def _made(venv: Path) -> str:
    python = str(venv / "bin" / "python")
    pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *REQUIREMENTS)
    try:
        make_environment(str(venv))
        subprocess.run(pip, check=True, timeout=INSTALL_SECONDS, capture_output=True, text=True)
    except (SystemExit, subprocess.SubprocessError) as error:
        words = getattr(error, "stderr", None) or str(error)
        real.missing("AiiDA", f"it could not be installed: {words.strip().splitlines()[-1]}")
    return python


@contextmanager
def running_transport(python: str, settings: dict[str, Any]) -> Iterator[Transport]:
    """The transport of an AiiDA computer with these settings."""
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryFile("w+") as words:
        process = subprocess.Popen(
            (python, "-P", str(Path(__file__).with_name("aiida_transport.py"))),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
            env=os.environ | {"AIIDA_PATH": home, "PYTHONWARNINGS": "ignore"},
        )
        with process:
            transport = Transport(process)
            transport.say(settings)
            assert transport.heard() == "FirecrestTransport"
            yield transport


@pytest.fixture(scope="module")
def settings(cluster: Cluster, minio: MinioServer) -> Iterator[dict[str, Any]]:
    """Those of AiiDA's computer for the real Slurm, which stages with an object store; checksums are compared."""
    site = cluster_site(cluster.directory)
    site["systems"][0]["data_operation"]["staging"] = staging_by(minio)
    issuer, client = site["auth"]["issuers"][0], site["development"]["issuer"]["clients"][0]
    with tempfile.TemporaryDirectory() as name:
        configuration = Path(name) / "site.yaml"
        configuration.write_text(yaml.safe_dump(site))
        with running_site("--config", str(configuration), environment=S3_KEY) as ready:
            yield {
                "url": ready["ready"],
                "token_uri": f"{issuer['issuer']}/token",
                "client_id": client["id"],
                "client_secret": str(client["secret"]).removeprefix("secret_file:"),
                "compute_resource": "cluster",
                "temp_directory": f"{HOME}/passerelle-aiida-{uuid.uuid4()}",
                "billing_account": "proj1sub",
                "max_io_allowed": 8,
                "checksum_check": True,
            }


@pytest.fixture(scope="module")
def transport(aiida_python: str, settings: dict[str, Any]) -> Iterator[Transport]:
    """AiiDA's transport."""
    with running_transport(aiida_python, settings) as transport:
        transport.makedirs(settings["temp_directory"])
        yield transport
        transport.rmtree(settings["temp_directory"])


@pytest.fixture
def remote(transport: Transport) -> Iterator[str]:
    """A new, empty directory on the system."""
    path = f"{HOME}/passerelle aiida-{uuid.uuid4()}"
    transport.mkdir(path)
    yield path
    transport.rmtree(path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with six files in two levels, one of them empty and one hidden."""
    top = tmp_path / "tree"
    (top / "deep" / "er").mkdir(parents=True)
    contents = {
        "a.txt": b"a",
        "b.txt": b"b\n" * 1000,
        ".hidden": b"hidden",
        "empty": b"",
        "deep/with space": bytes(range(256)),
        "deep/er/c.txt": b"c",
    }
    for name, content in contents.items():
        (top / name).write_bytes(content)
    return top


def contents_of(directory: Path) -> dict[str, bytes]:
    """Relative path -> content of every file below it."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_who_and_where(transport: Transport, remote: str) -> None:
    assert transport.whoami() == "alice"
    assert transport.path_exists(remote)
    assert transport.isdir(remote)
    assert not transport.isfile(remote)
    for ask in (transport.path_exists, transport.isdir, transport.isfile):
        assert not ask(f"{remote}/none")


@pytest.mark.parametrize("size", [0, 1, 500_000, 12_000_000])
def test_a_file_there_and_back(
    transport: Transport, remote: str, tmp_path: Path, size: int
) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(os.urandom(size))
    transport.putfile(source, f"{remote}/file")
    assert transport.isfile(f"{remote}/file")
    assert transport.get_attribute(f"{remote}/file")["st_size"] == size
    transport.getfile(f"{remote}/file", back)
    assert back.read_bytes() == source.read_bytes()
    source.write_bytes(b"other content")
    transport.put(source, f"{remote}/file")  # replaces
    transport.get(f"{remote}/file", back)
    assert back.read_bytes() == b"other content"


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "one by one"])
def test_a_tree_there_and_back(
    transport: Transport, remote: str, tree: Path, tmp_path: Path, packed: bool
) -> None:
    transport.set("payoff_override", packed)
    transport.puttree(tree, f"{remote}/tree")
    names = ["a.txt", "b.txt", ".hidden", "empty", "deep", "deep/with space", "deep/er"]
    assert sorted(transport.listdir(f"{remote}/tree", recursive=True)) == sorted(
        [*names, "deep/er/c.txt"]
    )
    transport.gettree(f"{remote}/tree", tmp_path / "back")
    assert contents_of(tmp_path / "back") == contents_of(tree)


def test_listing_and_globbing(transport: Transport, remote: str, tree: Path) -> None:
    transport.put(tree, f"{remote}/tree")
    assert sorted(transport.listdir(f"{remote}/tree")) == [
        ".hidden",
        "a.txt",
        "b.txt",
        "deep",
        "empty",
    ]
    assert sorted(transport.listdir(f"{remote}/tree", pattern="*.txt")) == ["a.txt", "b.txt"]
    with_attributes = transport.listdir_withattributes(f"{remote}/tree")
    assert {entry["name"] for entry in with_attributes if entry["isdir"]} == {"deep"}
    sizes = {entry["name"]: entry["attributes"]["st_size"] for entry in with_attributes}
    assert sizes["b.txt"] == 2000
    paths = transport.glob(f"{remote}/tree/*.txt")
    assert sorted(paths) == [f"{remote}/tree/a.txt", f"{remote}/tree/b.txt"]
    assert transport.glob(f"{remote}/*/deep/*/c.txt") == [f"{remote}/tree/deep/er/c.txt"]
    assert transport.glob(f"{remote}/none*") == []


def test_copying(transport: Transport, remote: str, tree: Path, tmp_path: Path) -> None:
    transport.put(tree, f"{remote}/tree")
    transport.copyfile(f"{remote}/tree/b.txt", f"{remote}/copy")
    assert transport.get_attribute(f"{remote}/copy")["st_size"] == 2000
    transport.mkdir(f"{remote}/copies")
    transport.copytree(f"{remote}/tree", f"{remote}/copies")
    transport.gettree(f"{remote}/copies/tree", tmp_path / "back")
    assert contents_of(tmp_path / "back") == contents_of(tree)
    transport.mkdir(f"{remote}/some")
    transport.copy(f"{remote}/tree/*.txt", f"{remote}/some/")
    assert sorted(transport.listdir(f"{remote}/some")) == ["a.txt", "b.txt"]
    with pytest.raises(TransportError) as caught:
        transport.copyfile(f"{remote}/none", f"{remote}/copy")
    assert "FileNotFoundError" in caught.value.classes


def test_putting_and_getting_what_matches(
    transport: Transport, remote: str, tree: Path, tmp_path: Path
) -> None:
    transport.put(f"{tree}/a.txt", f"{remote}/a.txt")
    transport.put(f"{tree}/b.txt", f"{remote}/b.txt")
    (tmp_path / "back").mkdir()
    transport.get(f"{remote}/*.txt", f"{tmp_path}/back/")
    assert sorted(contents_of(tmp_path / "back")) == ["a.txt", "b.txt"]


def test_renaming_and_removing(transport: Transport, remote: str, tree: Path) -> None:
    transport.put(tree, f"{remote}/tree")
    transport.rename(f"{remote}/tree", f"{remote}/renamed")
    assert transport.listdir(remote) == ["renamed"]
    transport.remove(f"{remote}/renamed/a.txt")
    transport.remove(f"{remote}/renamed/a.txt")  # what is not there needs no removing
    assert not transport.path_exists(f"{remote}/renamed/a.txt")
    with pytest.raises(TransportError, match="not empty"):
        transport.rmdir(f"{remote}/renamed")
    with pytest.raises(TransportError, match="not a file"):
        transport.remove(f"{remote}/renamed")
    transport.rmtree(f"{remote}/renamed")
    assert transport.listdir(remote) == []


def test_directories(transport: Transport, remote: str) -> None:
    transport.makedirs(f"{remote}/a/b/c")
    transport.makedirs(f"{remote}/a/b/c", ignore_existing=True)
    transport.mkdir(f"{remote}/a", ignore_existing=True)
    for make in (transport.mkdir, transport.makedirs):
        with pytest.raises(TransportError, match="already exists") as caught:
            make(f"{remote}/a")
        assert "OSError" in caught.value.classes
    transport.rmdir(f"{remote}/a/b/c")
    assert transport.listdir(f"{remote}/a/b") == []


def test_modes_and_links(transport: Transport, remote: str, tree: Path, tmp_path: Path) -> None:
    transport.put(f"{tree}/a.txt", f"{remote}/a.txt")
    transport.chmod(f"{remote}/a.txt", 0o640)
    assert transport.get_mode(f"{remote}/a.txt") & 0o7777 == 0o640
    transport.symlink(f"{remote}/a.txt", f"{remote}/link")
    assert transport.is_symlink(f"{remote}/link")
    assert not transport.is_symlink(f"{remote}/a.txt")
    transport.getfile(f"{remote}/link", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"a"


def test_a_wrong_checksum_is_found(transport: Transport, remote: str, tree: Path) -> None:
    transport.put(f"{tree}/a.txt", f"{remote}/a.txt")
    transport._validate_checksum(f"{tree}/a.txt", f"{remote}/a.txt")
    with pytest.raises(TransportError, match="Checksum mismatch"):
        transport._validate_checksum(f"{tree}/b.txt", f"{remote}/a.txt")


def test_what_is_not_there(transport: Transport, remote: str, tmp_path: Path) -> None:
    for get in (transport.get, transport.getfile):
        with pytest.raises(TransportError) as caught:
            get(f"{remote}/none", tmp_path / "none")
        assert "FileNotFoundError" in caught.value.classes
    transport.get(f"{remote}/none", tmp_path / "none", ignore_nonexisting=True)
    assert not (tmp_path / "none").exists()

"""Archives through the whole gateway: by pyfirecrest, unchanged, and by curl."""

import asyncio
import hashlib
import subprocess
import tarfile
import time
from pathlib import Path

import httpx
import pytest
from firecrest.FirecrestException import UnexpectedStatusException
from firecrest.v2 import AsyncFirecrest, Firecrest

from tests.e2e.target import Target
from tests.e2e.test_pyfirecrest_cli import Cli

FORMATS = pytest.mark.parametrize("kind", ["TAR", "TAR_GZ", "TAR_ZST"])
CONTENT = b"".join(hashlib.sha256(bytes([n % 256, n // 256])).digest() for n in range(40_000))


@pytest.fixture
def tree(target: Target, client: Firecrest, directory: str) -> str:
    """A directory on the system with two files of 1.28 MB, which no compression makes smaller."""
    path = f"{directory}/tree"
    client.mkdir(target.system, f"{path}/sub", create_parents=True)
    for where in (path, f"{path}/sub"):
        file = {"path": f"{where}/-data 1"}
        url = f"{target.base_url}/v1/systems/{target.system}/files:content"
        bearer = {"Authorization": f"Bearer {target.token()}"}
        httpx.put(url, params=file, content=CONTENT, headers=bearer).raise_for_status()
    return path


@pytest.fixture
def firecrest(target: Target, tmp_path: Path) -> Cli:
    return Cli(target, tmp_path / "token")


class Curl:
    """curl on the archives of the native API."""

    def __init__(self, target: Target) -> None:
        self._url = f"{target.base_url}/v1/systems/{target.system}/files:archive"
        self._header = f"Authorization: Bearer {target.token()}"

    def __call__(self, path: str, *options: str, **query: str) -> subprocess.CompletedProcess[str]:
        """What it says and how it ends."""
        url = str(httpx.URL(self._url, params={"path": path, **query}))
        argv = ("curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "60")
        return subprocess.run(
            (*argv, "--header", self._header, *options, url),
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def curl(target: Target) -> Curl:
    return Curl(target)


def _digests(target: Target, client: Firecrest, tree: str) -> list[str]:
    return [
        client.checksum(target.system, f"{tree}/{name}")["checksum"]
        for name in ("-data 1", "sub/-data 1")
    ]


SHA256 = [hashlib.sha256(CONTENT).hexdigest()] * 2


@pytest.mark.parametrize("compression", ["none", "gzip", "bzip2", "xz"])
def test_compress_and_extract(
    target: Target, client: Firecrest, tree: str, directory: str, compression: str
) -> None:
    packed, into = f"{directory}/packed", f"{directory}/into"
    client.mkdir(target.system, into)
    client.compress(target.system, tree, packed, compression=compression)
    client.extract(target.system, packed, into, compression=compression)
    assert _digests(target, client, f"{into}/tree") == SHA256
    with pytest.raises(UnexpectedStatusException, match="No such file or directory"):
        client.extract(target.system, packed, f"{directory}/nowhere", compression=compression)


def test_compress_and_extract_by_the_asynchronous_client(
    target: Target, client: Firecrest, tree: str, directory: str
) -> None:
    async def both() -> None:
        one = AsyncFirecrest(firecrest_url=target.base_url, authorization=target)
        await one.compress(target.system, tree, f"{directory}/x.tgz", match_pattern=".*/sub/.*")
        await one.mkdir(target.system, f"{directory}/into")
        await one.extract(target.system, f"{directory}/x.tgz", f"{directory}/into")
        await one.close_session()

    asyncio.run(both())
    entries = client.list_files(target.system, f"{directory}/into", recursive=True)
    assert {entry["name"] for entry in entries} == {"tree", "tree/sub", "tree/sub/-data 1"}


def test_compress_and_extract_on_the_command_line(
    target: Target, client: Firecrest, firecrest: Cli, tree: str, directory: str
) -> None:
    client.mkdir(target.system, f"{directory}/into")
    firecrest("compress", tree, f"{directory}/x.tgz")
    firecrest("extract", f"{directory}/x.tgz", f"{directory}/into")
    assert _digests(target, client, f"{directory}/into/tree") == SHA256


@FORMATS
@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_a_directory_down_and_up_by_curl(
    target: Target,
    client: Firecrest,
    curl: Curl,
    tree: str,
    directory: str,
    tmp_path: Path,
    kind: str,
    version: str,
) -> None:
    file = str(tmp_path / "archive")
    assert curl(tree, version, "--output", file, format=kind).returncode == 0
    up = curl(f"{directory}/new", version, "--upload-file", file, format=kind)
    assert up.stdout == f'{{"path":"{directory}/new","entryCount":"4"}}'
    assert _digests(target, client, f"{directory}/new/tree") == SHA256
    again = curl(f"{directory}/new", version, "--upload-file", file, format=kind)
    assert (again.returncode, "File exists" in again.stdout) == (22, True)
    over = curl(f"{directory}/new", "--upload-file", file, format=kind, overwrite="true")
    assert over.returncode == 0


@pytest.mark.parametrize(("version", "ends"), [("--http1.1", 18), ("--http2-prior-knowledge", 92)])
def test_curl_sees_that_tar_failed(
    target: Target, client: Firecrest, curl: Curl, tree: str, version: str, ends: int
) -> None:
    """After the stream has begun: 18 is a partial file, 92 a stream that was reset."""
    client.symlink(target.system, f"{tree}/-data 1", f"{tree}/link")
    client.rm(target.system, f"{tree}/-data 1")
    options = (version, "--output", "/dev/null")
    assert curl(tree, *options, format="TAR").returncode == 0
    assert curl(tree, *options, format="TAR", dereference="true").returncode == ends


@FORMATS
def test_what_is_cut_off_is_not_unpacked(
    target: Target,
    client: Firecrest,
    curl: Curl,
    tree: str,
    directory: str,
    tmp_path: Path,
    kind: str,
) -> None:
    file = tmp_path / "archive"
    curl(tree, "--output", str(file), format=kind)
    file.write_bytes(file.read_bytes()[: len(CONTENT)])
    cut = curl(f"{directory}/new", "--upload-file", str(file), format=kind)
    assert (cut.returncode, '"code":400' in cut.stdout) == (22, True)
    slow = ("--limit-rate", "100k", "--max-time", "2", "--upload-file", str(file))
    assert curl(f"{directory}/new", *slow, format=kind).returncode == 28
    assert _left(target, client, directory) == ["tree"]


def _left(target: Target, client: Firecrest, directory: str) -> list[str]:
    """What is in a directory, hidden names too, once what has to be removed is gone."""
    for _ in range(100):
        entries = client.list_files(target.system, directory, show_hidden=True)
        names = [str(entry["name"]) for entry in entries]
        if not any("passerelle-part" in name for name in names):
            break
        time.sleep(0.1)
    return names


def _member(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


@pytest.mark.parametrize(
    "member",
    [
        _member("../x", tarfile.REGTYPE),
        _member("hard", tarfile.LNKTYPE, "/etc/passwd"),
        _member("null", tarfile.CHRTYPE),
        None,
    ],
    ids=["up", "hard link", "device", "garbage"],
)
def test_what_is_wrong_in_an_archive_is_400_on_both_surfaces(
    target: Target,
    client: Firecrest,
    curl: Curl,
    directory: str,
    tmp_path: Path,
    member: tarfile.TarInfo | None,
) -> None:
    file = tmp_path / "x.tgz"
    with tarfile.open(file, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("good"))
        if member is not None:
            tar.addfile(member)
    if member is None:
        file.write_bytes(file.read_bytes() + b"a line\n")
    client.upload(target.system, str(file), directory, "x.tgz")
    client.mkdir(target.system, f"{directory}/into")
    with pytest.raises(UnexpectedStatusException) as raised:
        client.extract(target.system, f"{directory}/x.tgz", f"{directory}/into")
    reply = raised.value.responses[-1]
    assert (reply.status_code, reply.json()["user"]) == (400, target.user)
    native = curl(f"{directory}/into", "--upload-file", str(file))
    assert (native.returncode, '"code":400' in native.stdout) == (22, True)
    assert client.list_files(target.system, f"{directory}/into", show_hidden=True) == []

"""The native API's links, modes, owners, types and checksums, over a real gRPC channel and a real SSH server."""

import hashlib
import os
from pathlib import Path
from typing import Any

import google_crc32c
import grpc
import pytest
import xxhash

from passerelle.storage.files.checksums import Algorithm
from passerelle.v1 import storage_pb2 as pb
from passerelle.v1 import storage_pb2_grpc as pb_grpc
from tests.unit.storage.world import METADATA

Code = grpc.StatusCode


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> "pb_grpc.StorageServiceAsyncStub":
    return pb_grpc.StorageServiceStub(channel)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "it's\na file"
    path.write_text("content\n")
    path.chmod(0o644)
    return path


async def refused(call: Any) -> tuple[Code, str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value.code(), str(raised.value.details())


async def checksum(stub: Any, path: Path, **fields: Any) -> pb.FileProgress:
    request = pb.ChecksumFileRequest(system="lab", path=str(path), **fields)
    messages: list[pb.FileProgress] = [
        message async for message in stub.ChecksumFile(request, metadata=METADATA)
    ]
    return messages[-1]


async def test_a_link_of_any_bytes(stub: Any, tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/\xff"
    request = pb.CreateSymlinkRequest(system="lab", raw_path=raw, raw_target=b"-\xfe")
    made = await stub.CreateSymlink(request, metadata=METADATA)
    assert (made.type, made.raw_name, made.link_target) == (pb.File.SYMLINK, raw, "-\\376")
    assert os.readlink(raw) == b"-\xfe"


@pytest.mark.parametrize(
    ("path", "target", "invalid"),
    [
        ("link", "", "target must not be empty"),
        ("link", "/etc/passwd", "target is in none of the filesystems"),
        ("link", "../../../x", "target is in none of the filesystems"),
        ("link", "x\0y", "target must not contain NUL characters"),
        ("../../link", "x", "path is in none of the filesystems"),
    ],
)
async def test_links_stay_inside(
    stub: Any, tmp_path: Path, path: str, target: str, invalid: str
) -> None:
    request = pb.CreateSymlinkRequest(system="lab", path=f"{tmp_path}/{path}", target=target)
    code, details = await refused(stub.CreateSymlink(request, metadata=METADATA))
    assert code == Code.INVALID_ARGUMENT
    assert invalid in details
    assert os.listdir(tmp_path) == []


async def test_mode_and_owner_of_what_a_link_points_to(
    stub: Any, file: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(file.name)
    mode = pb.ChangeModeRequest(system="lab", path=f"{tmp_path}/link", mode="u+x,go=")
    changed = await stub.ChangeMode(mode, metadata=METADATA)
    assert (changed.mode, file.stat().st_mode) == (0o100700, 0o100700)
    owner = pb.ChangeOwnerRequest(system="lab", path=f"{tmp_path}/link", user=str(os.getuid()))
    given = await stub.ChangeOwner(owner, metadata=METADATA)
    assert (given.uid, given.gid) == (os.getuid(), os.getgid())


async def test_bad_modes_and_owners(stub: Any, file: Path) -> None:
    mode = pb.ChangeModeRequest(system="lab", path=str(file), mode="rwx")
    assert await refused(stub.ChangeMode(mode, metadata=METADATA)) == (
        Code.INVALID_ARGUMENT,
        "invalid mode: 'rwx'",
    )
    owner = pb.ChangeOwnerRequest(system="lab", path=str(file), user="nobody-here")
    assert await refused(stub.ChangeOwner(owner, metadata=METADATA)) == (
        Code.INVALID_ARGUMENT,
        "invalid user: 'nobody-here'",
    )


async def test_types(stub: Any, file: Path, tmp_path: Path) -> None:
    request = pb.GetFileTypeRequest(system="lab", path=str(file))
    result = await stub.GetFileType(request, metadata=METADATA)
    assert result.description == "ASCII text"
    missing = pb.GetFileTypeRequest(system="lab", path=str(tmp_path / "nope"))
    code, _ = await refused(stub.GetFileType(missing, metadata=METADATA))
    assert code == Code.NOT_FOUND


async def test_checksums(stub: Any, file: Path) -> None:
    content = file.read_bytes()
    algorithms = pb.ChecksumFileRequest.Algorithm
    expected = {
        algorithms.SHA256: hashlib.sha256(content).hexdigest(),
        algorithms.MD5: hashlib.md5(content, usedforsecurity=False).hexdigest(),
        algorithms.CRC32C: f"{google_crc32c.value(content):08x}",
        algorithms.XXH3: xxhash.xxh3_64_hexdigest(content),
    }
    for algorithm, value in expected.items():
        last = await checksum(stub, file, algorithm=algorithm)
        assert last.finished
        assert (last.bytes_done, last.bytes_total) == (8, 8)
        assert (last.checksum.algorithm, last.checksum.value) == (algorithm, value)
    usual = (await checksum(stub, file)).checksum
    assert (usual.algorithm, usual.value) == (algorithms.SHA256, expected[algorithms.SHA256])


def test_every_algorithm_is_in_the_contract_by_its_name() -> None:
    names = set(pb.ChecksumFileRequest.Algorithm.keys()) - {"ALGORITHM_UNSPECIFIED"}
    assert names == set(Algorithm.__members__)


async def test_checksums_of_what_has_none(stub: Any, file: Path, tmp_path: Path) -> None:
    assert (await refused(checksum(stub, tmp_path)))[0] == Code.FAILED_PRECONDITION
    assert (await refused(checksum(stub, tmp_path / "nope")))[0] == Code.NOT_FOUND
    code, details = await refused(checksum(stub, file, algorithm=99))
    assert (code, details) == (
        Code.INVALID_ARGUMENT,
        "algorithm is none of SHA256, MD5, CRC32C, XXH3",
    )

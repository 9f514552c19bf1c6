"""The native storage API over a real gRPC channel and a real SSH server."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody

from passerelle.v1 import storage_pb2 as pb
from passerelle.v1 import storage_pb2_grpc as pb_grpc
from tests.unit.storage.world import METADATA, debris, remote, serving_storage

Code = grpc.StatusCode


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> "pb_grpc.StorageServiceAsyncStub":
    return pb_grpc.StorageServiceStub(channel)


async def read(stub: Any, path: Path, range_header: str = "", **fields: Any) -> Any:
    """Headers and content of a file."""
    request = pb.ReadFileRequest(system="lab", path=str(path), **fields)
    metadata = (*METADATA, ("range", range_header)) if range_header else METADATA
    call = stub.ReadFile(request, metadata=metadata)
    chunks = [message.data async for message in call]
    assert max(map(len, chunks)) <= 1 << 18
    return dict(await call.initial_metadata()), b"".join(chunks)


async def write(stub: Any, path: object, *chunks: bytes, sha256: str = "") -> Any:
    async def requests() -> AsyncIterator[pb.WriteFileRequest]:
        first = HttpBody(data=chunks[0] if chunks else b"")
        yield pb.WriteFileRequest(system="lab", path=str(path), sha256=sha256, content=first)
        for chunk in chunks[1:]:
            yield pb.WriteFileRequest(content=HttpBody(data=chunk))

    return await stub.WriteFile(requests(), metadata=METADATA)


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


@pytest.mark.parametrize("sftp", [True, False])
async def test_a_ping_tells_what_is_lacking(tmp_path: Path, sftp: bool) -> None:
    async with remote(tmp_path, sftp=sftp) as world, serving_storage(world) as channel:
        stub: Any = pb_grpc.StorageServiceStub(channel)
        request = pb.PingFilesystemRequest(system="lab", path=str(tmp_path))
        reply = await stub.PingFilesystem(request, metadata=METADATA)
        assert ("SFTP cannot be used" in reply.message) is not sftp
        assert sftp is not bool(reply.message)
        request.path += "/nowhere"
        error = await refused(stub.PingFilesystem(request, metadata=METADATA))
    assert error.code() is Code.NOT_FOUND


async def test_stat_list_mkdir_remove(stub: Any, tmp_path: Path) -> None:
    directory = str(tmp_path / "d")
    request = pb.CreateDirectoryRequest(system="lab", path=directory)
    made = await stub.CreateDirectory(request, metadata=METADATA)
    assert (made.name, made.type) == (directory, pb.File.DIRECTORY)
    (tmp_path / "d" / "l").symlink_to("nowhere")
    os.utime(tmp_path / "d" / "l", ns=(5, 1_500_000_000_123_456_789), follow_symlinks=False)
    listing = pb.ListFilesRequest(system="lab", path=directory)
    [link] = (await stub.ListFiles(listing, metadata=METADATA)).files
    assert (link.name, link.type, link.link_target) == ("l", pb.File.SYMLINK, "nowhere")
    assert link.modify_time.ToNanoseconds() == 1_500_000_000_123_456_789
    target = pb.DeleteFileRequest(system="lab", path=directory)
    *_, last = [progress async for progress in stub.DeleteFile(target, metadata=METADATA)]
    assert (last.finished, last.entries_done) == (True, 2)
    gone = pb.StatFileRequest(system="lab", path=directory)
    error = await refused(stub.StatFile(gone, metadata=METADATA))
    assert (error.code(), error.details()) == (
        Code.NOT_FOUND,
        f"{directory}: No such file or directory",
    )


@pytest.mark.parametrize("size", [0, 1, 261_120, 261_121, 4_000_000])
async def test_content_goes_in_and_comes_out(stub: Any, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    digest = hashlib.sha256(content).hexdigest()
    chunks = [content[at : at + 100_000] for at in range(0, size, 100_000)]
    written = await write(stub, tmp_path / "f", *chunks, sha256=digest.upper())
    assert (written.size_bytes, written.sha256, written.path) == (size, digest, str(tmp_path / "f"))
    headers, got = await read(stub, tmp_path / "f")
    assert got == content
    assert headers["x-content-length"] == str(size)
    assert headers["accept-ranges"] == "bytes"
    assert "x-http-code" not in headers


@pytest.mark.parametrize(
    ("header", "fields", "expected", "content_range"),
    [
        ("bytes=0-3", {}, b"0123", "bytes 0-3/10"),
        ("bytes=7-", {}, b"789", "bytes 7-9/10"),
        ("bytes=8-99", {}, b"89", "bytes 8-9/10"),
        ("bytes=-2", {}, b"89", "bytes 8-9/10"),
        ("bytes=-99", {}, b"0123456789", "bytes 0-9/10"),
        ("bytes=1-2,4-5", {}, b"0123456789", None),
        ("bytes=5-2", {}, b"0123456789", None),
        ("lines=1-2", {}, b"0123456789", None),
        ("", {"offset": 4}, b"456789", None),
        ("", {"offset": 4, "length": 3}, b"456", None),
        ("", {"offset": 40}, b"", None),
    ],
)
async def test_ranges(
    stub: Any,
    tmp_path: Path,
    header: str,
    fields: dict[str, int],
    expected: bytes,
    content_range: str | None,
) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    headers, got = await read(stub, tmp_path / "f", header, **fields)
    assert got == expected
    assert headers["x-content-length"] == str(len(expected))
    assert headers.get("content-range") == content_range
    assert headers.get("x-http-code") == (content_range and "206")


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=99-100", "bytes=-0"])
async def test_ranges_beyond_the_end(stub: Any, tmp_path: Path, header: str) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    error = await refused(read(stub, tmp_path / "f", header))
    assert error.code() is Code.OUT_OF_RANGE


async def test_the_etag_tells_versions_apart(stub: Any, tmp_path: Path) -> None:
    tags = set()
    for content in (b"1", b"1", b"2"):
        await write(stub, tmp_path / "f", content)
        headers, _ = await read(stub, tmp_path / "f")
        tags.add(headers["etag"])
    assert len(tags) == 3


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("nope", Code.NOT_FOUND),
        ("dir", Code.FAILED_PRECONDITION),
        ("dir/../../../x", Code.INVALID_ARGUMENT),
        ("a\0b", Code.INVALID_ARGUMENT),
    ],
)
async def test_reading_what_cannot_be_read(
    stub: Any, tmp_path: Path, path: str, code: Code
) -> None:
    (tmp_path / "dir").mkdir()
    assert (await refused(read(stub, tmp_path / path))).code() is code


async def test_bad_arguments_name_their_field(stub: Any, tmp_path: Path) -> None:
    for call in (
        read(stub, tmp_path / "f", offset=-1),
        write(stub, tmp_path / "f", b"x", sha256="abc"),
        write(stub, "relative", b"x"),
    ):
        (tmp_path / "f").write_text("")
        assert (await refused(call)).code() is Code.INVALID_ARGUMENT
    request = pb.StatFileRequest(system="nosuch", path=str(tmp_path))
    assert (await refused(stub.StatFile(request, metadata=METADATA))).code() is Code.NOT_FOUND


async def test_a_wrong_checksum_writes_nothing(stub: Any, tmp_path: Path) -> None:
    error = await refused(write(stub, tmp_path / "f", b"x", sha256="0" * 64))
    assert error.code() is Code.INVALID_ARGUMENT
    assert os.listdir(tmp_path) == []


async def test_a_sender_that_goes_away_leaves_nothing(stub: Any, tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[pb.WriteFileRequest]:
        content = HttpBody(data=b"x" * 1_000_000)
        yield pb.WriteFileRequest(system="lab", path=str(tmp_path / "f"), content=content)
        while not debris(tmp_path):
            await asyncio.sleep(0.01)
        begun.set()
        await asyncio.sleep(3600)

    call = stub.WriteFile(endless(), metadata=METADATA)
    await begun.wait()
    call.cancel()
    while os.listdir(tmp_path):
        await asyncio.sleep(0.01)


async def test_a_reader_that_goes_away_frees_its_file(stub: Any, tmp_path: Path) -> None:
    with open(tmp_path / "f", "wb") as file:  # noqa: ASYNC230
        file.truncate(200 << 20)
    troubles: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, trouble: troubles.append(trouble))
    try:
        for _ in range(20):  # more than may read at once
            request = pb.ReadFileRequest(system="lab", path=str(tmp_path / "f"))
            call = stub.ReadFile(request, metadata=METADATA)
            assert len((await call.read()).data) == 261_120
            call.cancel()
        _, got = await read(stub, tmp_path / "f", length=5)
    finally:
        loop.set_exception_handler(None)
    assert got == bytes(5)
    assert troubles == []

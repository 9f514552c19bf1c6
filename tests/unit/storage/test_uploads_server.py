"""Reading and writing with conditions, and resumable uploads, over a real gRPC channel and a real SSH server."""

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody

from passerelle.runtime.headers import REST
from passerelle.storage.files.etags import among, tags
from passerelle.v1 import storage_pb2 as pb
from passerelle.v1 import storage_pb2_grpc as pb_grpc
from passerelle.v1 import uploads_pb2, uploads_pb2_grpc
from tests.unit.storage.world import METADATA

Code = grpc.StatusCode


@pytest.fixture
def files(channel: grpc.aio.Channel) -> "pb_grpc.StorageServiceAsyncStub":
    return pb_grpc.StorageServiceStub(channel)


@pytest.fixture
def uploads(channel: grpc.aio.Channel) -> "uploads_pb2_grpc.UploadServiceAsyncStub":
    return uploads_pb2_grpc.UploadServiceStub(channel)


async def read(files: Any, path: Path, headers: dict[str, str], **fields: Any) -> Any:
    """Headers and content."""
    request = pb.ReadFileRequest(system="lab", path=str(path), **fields)
    call = files.ReadFile(request, metadata=(*METADATA, *headers.items()))
    content = b"".join([message.data async for message in call])
    return dict(await call.initial_metadata()), content


async def write(
    files: Any, path: Path, content: bytes, *headers: tuple[str, str], **fields: Any
) -> Any:
    async def requests() -> AsyncIterator[pb.WriteFileRequest]:
        first = HttpBody(data=content)
        yield pb.WriteFileRequest(system="lab", path=str(path), content=first, **fields)

    return await files.WriteFile(requests(), metadata=(*METADATA, *headers))


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


@pytest.mark.parametrize(
    ("headers", "expected", "status"),
    [
        ({"range": "bytes=1-2", "if-range": '"{}"'}, b"12", "206"),
        ({"range": "bytes=1-2", "if-range": '"other"'}, b"0123456789", None),
        ({"range": "bytes=1-2", "if-range": 'W/"{}"'}, b"0123456789", None),
        ({"range": "bytes=1-2", "if-range": "Sun, 06 Nov 1994 08:49:37 GMT"}, b"0123456789", None),
        ({"if-match": '"{}"'}, b"0123456789", None),
        ({"if-match": '"a", "{}"', "range": "bytes=9-"}, b"9", "206"),
        ({"if-match": "*"}, b"0123456789", None),
        ({"if-none-match": '"other"', REST: "1"}, b"0123456789", None),
        ({"if-none-match": '"{}"', REST: "1"}, b"", "304"),
        ({"if-none-match": 'W/"{}"', REST: "1"}, b"", "304"),
        ({"if-none-match": "*", REST: "1"}, b"", "304"),
    ],
)
async def test_conditional_reading(
    files: Any, tmp_path: Path, headers: dict[str, str], expected: bytes, status: str | None
) -> None:
    written = await write(files, tmp_path / "f", b"0123456789")
    sent = {name: value.replace("{}", written.etag) for name, value in headers.items()}
    got, content = await read(files, tmp_path / "f", sent)
    assert (content, got.get("x-http-code")) == (expected, status)
    assert got["etag"] == f'"{written.etag}"'
    assert ("x-content-length" in got) == (status != "304")


async def test_headers_alone(files: Any, tmp_path: Path) -> None:
    await write(files, tmp_path / "f", b"0123456789")
    got, content = await read(files, tmp_path / "f", {REST: "1", "x-passerelle-head": "1"})
    assert (got["x-content-length"], content) == ("10", b"")


@pytest.mark.parametrize("header", ['"other"', 'W/"{}"', "nonsense", ""])
async def test_reading_another_version_is_refused(files: Any, tmp_path: Path, header: str) -> None:
    written = await write(files, tmp_path / "f", b"0")
    sent = {"if-match": header.replace("{}", written.etag), REST: "1"}
    error = await refused(read(files, tmp_path / "f", sent))
    assert error.code() is Code.FAILED_PRECONDITION
    trailers: Any = error.trailing_metadata()
    assert dict(trailers)["x-http-code"] == "412"
    error = await refused(read(files, tmp_path / "f", {}, if_match="other"))
    assert error.code() is Code.FAILED_PRECONDITION


async def test_writing_with_conditions(files: Any, tmp_path: Path) -> None:
    path = tmp_path / "f"
    first = await write(files, path, b"1", ("if-none-match", "*"))
    assert (
        await refused(write(files, path, b"2", ("if-none-match", "*")))
    ).code() is Code.ALREADY_EXISTS
    assert (await refused(write(files, path, b"2", mode=pb.CREATE))).code() is Code.ALREADY_EXISTS
    second = await write(files, path, b"2", ("if-match", f'"{first.etag}"'))
    for how in ({"if_match": first.etag}, {"if_match": "x", "mode": pb.APPEND}):
        assert (await refused(write(files, path, b"3", **how))).code() is Code.FAILED_PRECONDITION
    stale = write(files, path, b"3", ("if-match", f'"{first.etag}"'))
    assert (await refused(stale)).code() is Code.FAILED_PRECONDITION
    await write(files, path, b"3", if_match=second.etag, mode=pb.APPEND)
    assert path.read_bytes() == b"23"


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ([("if-match", '"a", "b"')], {}),
        ([("if-match", "a")], {}),
        ([("if-none-match", '"a"')], {}),
        ([("if-none-match", "*")], {"mode": pb.APPEND}),
        ([], {"mode": 9}),
        ([], {"sha256": "x" * 64}),
    ],
)
async def test_conditions_that_cannot_be(
    files: Any, tmp_path: Path, headers: list[tuple[str, str]], fields: dict[str, Any]
) -> None:
    error = await refused(write(files, tmp_path / "f", b"x", *headers, **fields))
    assert error.code() is Code.INVALID_ARGUMENT
    assert os.listdir(tmp_path) == []


async def test_an_upload(uploads: Any, tmp_path: Path) -> None:
    path, content = str(tmp_path / "f"), os.urandom(900_000)
    there: dict[str, Any] = {"system": "lab", "path": path}
    begun = await uploads.CreateUpload(uploads_pb2.CreateUploadRequest(**there), metadata=METADATA)
    there["upload_id"] = begun.upload_id

    async def requests() -> AsyncIterator[uploads_pb2.WriteUploadRequest]:
        first = HttpBody(data=content[300_000:500_000])
        yield uploads_pb2.WriteUploadRequest(**there, offset=300_000, content=first)
        yield uploads_pb2.WriteUploadRequest(content=HttpBody(data=content[500_000:]))

    async def one() -> AsyncIterator[uploads_pb2.WriteUploadRequest]:
        yield uploads_pb2.WriteUploadRequest(**there, content=HttpBody(data=content[:300_000]))

    assert (await uploads.WriteUpload(one(), metadata=METADATA)).received_bytes == 300_000
    request = uploads_pb2.GetUploadRequest(**there)
    assert (await uploads.GetUpload(request, metadata=METADATA)).received_bytes == 300_000
    assert (await uploads.WriteUpload(requests(), metadata=METADATA)).received_bytes == 900_000
    digest = hashlib.sha256(content).hexdigest()
    whole = uploads_pb2.CompleteUploadRequest(**there, size_bytes=900_000, sha256=digest.upper())
    done = await uploads.CompleteUpload(whole, metadata=METADATA)
    assert (done.path, done.size_bytes, done.sha256) == (path, 900_000, digest)
    assert (tmp_path / "f").read_bytes() == content
    gone = uploads.DeleteUpload(uploads_pb2.DeleteUploadRequest(**there), metadata=METADATA)
    assert (await refused(gone)).code() is Code.NOT_FOUND


async def test_an_upload_is_aborted(uploads: Any, tmp_path: Path) -> None:
    there: dict[str, Any] = {"system": "lab", "path": str(tmp_path / "f")}
    begun = await uploads.CreateUpload(uploads_pb2.CreateUploadRequest(**there), metadata=METADATA)
    request = uploads_pb2.DeleteUploadRequest(**there, upload_id=begun.upload_id)
    await uploads.DeleteUpload(request, metadata=METADATA)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("header", "strong", "weak"),
    [
        ("*", ("*",), ("*",)),
        ('"a"', ("a",), ("a",)),
        (' "a" , W/"b","c"', ("a", "c"), ("a", "b", "c")),
        ("a", (), ()),
        ("", (), ()),
    ],
)
def test_etags_in_headers(header: str, strong: tuple[str, ...], weak: tuple[str, ...]) -> None:
    assert tags(header, weak=False) == strong
    assert tags(header, weak=True) == weak


def test_nothing_matches_what_is_not_there() -> None:
    assert not among(None, ("*", ""))

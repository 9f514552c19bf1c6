"""The native ReadArchive and WriteArchive over gRPC."""

import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody

from passerelle.storage.native.archive_service import attachment
from passerelle.v1 import storage_pb2 as pb
from passerelle.v1 import storage_pb2_grpc as pb_grpc
from tests.unit.storage.world import METADATA

TYPES = {pb.TAR: "application/x-tar", pb.TAR_GZ: "application/gzip", pb.TAR_ZST: "application/zstd"}


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> Any:
    return pb_grpc.StorageServiceStub(channel)


async def written(stub: Any, path: Path, content: bytes, **fields: Any) -> pb.WriteArchiveResponse:
    async def requests() -> AsyncIterator[pb.WriteArchiveRequest]:
        yield pb.WriteArchiveRequest(system="lab", path=str(path), **fields)
        yield pb.WriteArchiveRequest(content=HttpBody(data=content))

    reply: pb.WriteArchiveResponse = await stub.WriteArchive(requests(), metadata=METADATA)
    return reply


@pytest.mark.parametrize("kind", TYPES)
async def test_there_and_back(
    stub: Any, tmp_path: Path, kind: "pb.ArchiveFormat.ValueType"
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "x").write_text("x")
    request = pb.ReadArchiveRequest(system="lab", path=str(tmp_path / "tree"), format=kind)
    call = stub.ReadArchive(request, metadata=METADATA)
    messages = [message async for message in call]
    assert {message.content_type for message in messages} == {TYPES[kind]}
    content = b"".join(message.data for message in messages)
    reply = await written(stub, tmp_path / "copy", content, format=kind)
    assert (reply.path, reply.entry_count) == (str(tmp_path / "copy"), 2)
    assert (tmp_path / "copy" / "tree" / "x").read_text() == "x"


async def test_the_first_choice_is_gzip_and_a_file_name_goes_along(
    stub: Any, tmp_path: Path
) -> None:
    call = stub.ReadArchive(
        pb.ReadArchiveRequest(system="lab", path=str(tmp_path)), metadata=METADATA
    )
    first = await call.read()
    assert first.content_type == "application/gzip"
    headers = dict(await call.initial_metadata())
    assert headers["content-disposition"] == f'attachment; filename="{tmp_path.name}.tar.gz"'


async def test_failures_are_statuses(stub: Any, tmp_path: Path) -> None:
    missing = pb.ReadArchiveRequest(system="lab", path=str(tmp_path / "nothing"))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.ReadArchive(missing, metadata=METADATA).read()
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    (tmp_path / "x").write_text("old")
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("x"))
    for content, code in (
        (sink.getvalue(), grpc.StatusCode.ALREADY_EXISTS),
        (b"junk", grpc.StatusCode.INVALID_ARGUMENT),
        (b"", grpc.StatusCode.INVALID_ARGUMENT),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await written(stub, tmp_path, content, format=pb.TAR)
        assert raised.value.code() is code
    assert (tmp_path / "x").read_text() == "old"
    await written(stub, tmp_path, sink.getvalue(), format=pb.TAR, overwrite=True)
    assert (tmp_path / "x").read_text() == ""


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("run 1.tar", 'attachment; filename="run 1.tar"'),
        (
            'a";b\r\n.tar',
            "attachment; filename=\"a__b__.tar\"; filename*=UTF-8''a%22%3Bb%0D%0A.tar",
        ),
        ("é.tar", "attachment; filename=\"_.tar\"; filename*=UTF-8''%C3%A9.tar"),
        ("\udcff.tar", "attachment; filename=\"_.tar\"; filename*=UTF-8''%5C377.tar"),
    ],
)
def test_file_names_are_safe_in_the_header(name: str, header: str) -> None:
    assert attachment(name) == header

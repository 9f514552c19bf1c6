"""Trees, pages and many files in the native API, over a real gRPC channel and a real SSH server."""

import os
from pathlib import Path
from typing import Any

import grpc
import pytest

from passerelle.firecrest.v2 import filesystem_pb2 as profile
from passerelle.firecrest.v2 import filesystem_pb2_grpc as profile_grpc
from passerelle.v1 import storage_pb2 as pb
from passerelle.v1 import storage_pb2_grpc as pb_grpc
from tests.unit.storage.world import METADATA

Code = grpc.StatusCode


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> "pb_grpc.StorageServiceAsyncStub":
    return pb_grpc.StorageServiceStub(channel)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    for name in ("a", "b", "c", "sub/d", ".e"):
        (tmp_path / "tree" / name).write_text(name)
    (tmp_path / "tree" / "link").symlink_to("a")
    return tmp_path / "tree"


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


async def all_of(call: Any) -> list[Any]:
    return [message async for message in call]


async def test_pages(stub: Any, tree: Path) -> None:
    names, token, sizes = [], "", []
    while True:
        request = pb.ListFilesRequest(system="lab", path=str(tree), page_size=2, page_token=token)
        page = await stub.ListFiles(request, metadata=METADATA)
        names += [file.name for file in page.files]
        sizes.append(len(page.files))
        token = page.next_page_token
        if not token:
            break
    assert names == ["a", "b", "c", "link", "sub"]
    assert sizes == [2, 2, 1]


async def test_a_page_of_another_directory_is_refused(stub: Any, tree: Path) -> None:
    request = pb.ListFilesRequest(system="lab", path=str(tree), page_size=2)
    request.page_token = (await stub.ListFiles(request, metadata=METADATA)).next_page_token
    request.path = f"{tree}/sub"
    error = await refused(stub.ListFiles(request, metadata=METADATA))
    assert error.details() == "page_token was given out for another request"


async def test_names_that_are_no_utf8_have_pages_too(stub: Any, tmp_path: Path) -> None:
    for name in (b"a\xff", b"b"):
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))).touch()
    request = pb.ListFilesRequest(system="lab", path=str(tmp_path), page_size=1)
    first = await stub.ListFiles(request, metadata=METADATA)
    request.page_token = first.next_page_token
    second = await stub.ListFiles(request, metadata=METADATA)
    assert [file.raw_name or file.name for file in (*first.files, *second.files)] == [
        b"a\xff",
        "b",
    ]


async def test_a_large_directory_comes_in_pages_also_unasked(stub: Any, tmp_path: Path) -> None:
    for number in range(10_001):
        (tmp_path / f"{number:05}").touch()
    first = pb.ListFilesRequest(system="lab", path=str(tmp_path))
    page = await stub.ListFiles(first, metadata=METADATA)
    assert len(page.files) == 10_000
    more = pb.ListFilesRequest(system="lab", path=str(tmp_path), page_size=20_000)
    assert (await stub.ListFiles(more, metadata=METADATA)) == page
    rest = pb.ListFilesRequest(system="lab", path=str(tmp_path), page_token=page.next_page_token)
    page = await stub.ListFiles(rest, metadata=METADATA)
    assert [file.name for file in page.files] == ["10000"]
    assert page.next_page_token == ""


async def test_a_page_that_is_just_full_is_the_last(stub: Any, tree: Path) -> None:
    request = pb.ListFilesRequest(system="lab", path=str(tree), page_size=3, pattern="[abc]")
    page = await stub.ListFiles(request, metadata=METADATA)
    assert [file.name for file in page.files] == ["a", "b", "c"]
    assert page.next_page_token == ""


@pytest.mark.parametrize(
    "fields",
    [
        {"page_size": -1},
        {"page_token": "%"},
        {"page_token": "AA=="},
        {"pattern": "*" * 256},
    ],
)
async def test_bad_pages_name_their_field(
    stub: Any, tree: Path, fields: dict[str, str | int]
) -> None:
    request = pb.ListFilesRequest(system="lab", path=str(tree))
    for name, value in fields.items():
        setattr(request, name, value)
    error = await refused(stub.ListFiles(request, metadata=METADATA))
    assert error.code() is Code.INVALID_ARGUMENT
    assert next(iter(fields)) in (error.details() or "")


async def test_stat_of_many(stub: Any, tree: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tree) + b"/\xff"))).touch()
    request = pb.BatchStatFilesRequest(
        system="lab",
        paths=[f"{tree}/a", "relative", f"{tree}/nope", "/etc/passwd"],
        raw_paths=[os.fsencode(tree) + b"/\xff"],
    )
    answers = (await stub.BatchStatFiles(request, metadata=METADATA)).results
    assert [answer.path for answer in answers] == [*request.paths, f"{tree}/\\377"]
    assert [answer.error.code for answer in answers] == [0, 400, 404, 400, 0]
    assert answers[4].file.raw_name == os.fsencode(tree) + b"/\xff"
    st = (tree / "a").stat()
    assert answers[0].file.etag == f"{st.st_ino:x}-{st.st_size:x}-{st.st_mtime_ns:x}"
    request = pb.BatchStatFilesRequest(system="lab", paths=[f"{tree}/a"] * 1001)
    assert (await refused(stub.BatchStatFiles(request, metadata=METADATA))).code() is (
        Code.INVALID_ARGUMENT
    )


async def test_the_etag_is_that_of_reading(stub: Any, tree: Path) -> None:
    info = await stub.StatFile(
        pb.StatFileRequest(system="lab", path=f"{tree}/a"), metadata=METADATA
    )
    request = pb.ReadFileRequest(system="lab", path=f"{tree}/a")
    call = stub.ReadFile(request, metadata=METADATA)
    assert dict(await call.initial_metadata())["etag"] == f'"{info.etag}"'
    await all_of(call)


async def test_a_walk(stub: Any, tree: Path) -> None:
    request = pb.WalkFilesRequest(
        system="lab", path=str(tree), show_hidden=True, types=[pb.File.REGULAR, pb.File.SYMLINK]
    )
    batches = await all_of(stub.WalkFiles(request, metadata=METADATA))
    names = sorted(file.name for batch in batches for file in batch.files)
    assert names == [".e", "a", "b", "c", "link", "sub/d"]
    assert [batch.finished for batch in batches] == [False] * (len(batches) - 1) + [True]


@pytest.mark.parametrize("fields", [{"max_depth": -1}, {"types": [pb.File.TYPE_UNSPECIFIED]}])
async def test_bad_walks(stub: Any, tree: Path, fields: Any) -> None:
    request = pb.WalkFilesRequest(system="lab", path=str(tree), **fields)
    error = await refused(all_of(stub.WalkFiles(request, metadata=METADATA)))
    assert error.code() is Code.INVALID_ARGUMENT


async def test_copy_move_measure_remove(stub: Any, tree: Path, tmp_path: Path) -> None:
    copy = pb.CopyFileRequest(system="lab", path=str(tree), target=f"{tmp_path}/copy")
    last = (await all_of(stub.CopyFile(copy, metadata=METADATA)))[-1]
    assert (last.finished, last.file.name) == (True, f"{tmp_path}/copy")
    assert last.entries_done == 8
    single = pb.CopyFileRequest(system="lab", path=f"{tree}/a", target=f"{tmp_path}/a")
    last = (await all_of(stub.CopyFile(single, metadata=METADATA)))[-1]
    assert (last.bytes_done, last.bytes_total) == (1, 1)
    move = pb.MoveFileRequest(system="lab", path=f"{tmp_path}/copy", target=f"{tmp_path}/moved")
    last = (await all_of(stub.MoveFile(move, metadata=METADATA)))[-1]
    assert (last.finished, last.file.type) == (True, pb.File.DIRECTORY)
    usage = pb.MeasureUsageRequest(system="lab", path=f"{tmp_path}/moved")
    last = (await all_of(stub.MeasureUsage(usage, metadata=METADATA)))[-1]
    assert (last.finished, last.usage.entry_count) == (True, 8)
    remove = pb.DeleteFileRequest(system="lab", path=f"{tmp_path}/moved")
    last = (await all_of(stub.DeleteFile(remove, metadata=METADATA)))[-1]
    assert (last.finished, last.entries_done, last.WhichOneof("result")) == (True, 8, None)
    error = await refused(all_of(stub.CopyFile(single, metadata=METADATA)))
    assert error.code() is Code.ALREADY_EXISTS


async def test_raw_paths(stub: Any, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xfe"
    make = pb.CreateDirectoryRequest(system="lab", raw_path=path)
    made = await stub.CreateDirectory(make, metadata=METADATA)
    assert (made.name, made.raw_name) == (f"{tmp_path}/\\376", path)
    move = pb.MoveFileRequest(system="lab", raw_path=path, raw_target=path + b"\xff")
    assert (await all_of(stub.MoveFile(move, metadata=METADATA)))[-1].file.raw_name == (
        path + b"\xff"
    )
    both = pb.StatFileRequest(system="lab", raw_path=path, path=str(tmp_path))
    assert (await refused(stub.StatFile(both, metadata=METADATA))).code() is Code.INVALID_ARGUMENT
    gone = pb.StatFileRequest(system="lab", raw_path=path)
    error = await refused(stub.StatFile(gone, metadata=METADATA))
    assert error.details() == f"{tmp_path}/\\376: No such file or directory"


async def test_quota(stub: Any, tmp_path: Path) -> None:
    request = pb.GetQuotaRequest(system="lab", path=str(tmp_path))
    quota = await stub.GetQuota(request, metadata=METADATA)
    assert 0 < quota.filesystem.used_bytes < quota.filesystem.limit_bytes
    assert not quota.HasField("user")


async def test_what_leads_out_in_both_surfaces(
    stub: Any, channel: grpc.aio.Channel, tmp_path: Path
) -> None:
    (tmp_path / "out").symlink_to("/etc")
    path = f"{tmp_path}/out/passwd"
    native = pb.StatFileRequest(system="lab", path=path)
    error = await refused(stub.StatFile(native, metadata=METADATA))
    reported = f"path leads out of the filesystems of system lab: {path}"
    assert (error.code(), error.details()) == (Code.INVALID_ARGUMENT, reported)
    ours = profile_grpc.FilesystemServiceStub(channel)
    request = profile.StatRequest(system="lab", path=path)
    error = await refused(ours.Stat(request, metadata=METADATA))
    assert error.details() == (
        f"The provided path ({path}) does not match any of the defined filesystem paths "
        "for the requested system (lab)."
    )

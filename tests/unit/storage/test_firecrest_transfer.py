"""The FirecREST profile's transfers, over a real gRPC channel and a real SSH server; jobs are run by bash."""

import base64
import json
import logging
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody

from passerelle.firecrest.v2 import transfer_pb2 as pb
from passerelle.firecrest.v2 import transfer_pb2_grpc as pb_grpc
from passerelle.firecrest.v2.filesystem_pb2 import BodyRequest
from passerelle.runtime.errors import BackendError
from passerelle.storage.firecrest.transfer_service import OPENAPI
from passerelle.storage.jobs.port import ShellWork
from passerelle.storage.staging.port import Staged, Staging, StagingRequest
from passerelle.storage.staging.s3.method import S3
from passerelle.storage.staging.s3.wire import DownloadUrl, PartUrls
from passerelle.storage.staging.streamer.method import Streamer
from passerelle.storage.staging.wire import Instructions, WireForm
from passerelle.storage.staging.wormhole.method import Wormhole
from passerelle.storage.staging.wormhole.wire import SenderWaits, WormholeCode
from passerelle.v1 import transfers_pb2 as native_pb
from passerelle.v1 import transfers_pb2_grpc as native_grpc
from tests.unit.storage.profile import REST, Profile, Reply, _reply
from tests.unit.storage.world import METADATA, World, serving_storage


class Transfers(Profile):
    """Calls the profile's transfers as Envoy's transcoder does."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: Any = pb_grpc.TransferServiceStub(channel)

    async def send_untyped(self, method: str, **body: Any) -> Reply:
        """A method with a JSON body that has no content type."""
        request = BodyRequest(system="lab", body=HttpBody(data=json.dumps(body).encode()))
        return await _reply(getattr(self._stub, method)(request, metadata=REST))

    async def remove(self, path: object, **query: str) -> Reply:
        """`Remove`."""
        request = pb.RemoveByJobRequest(system="lab", path=str(path), **query)
        return await _reply(self._stub.Remove(request, metadata=REST))


class Told:
    """A staging method that submits a job, and keeps what it was asked for."""

    def __init__(
        self, world: World, wire: WireForm, upload: Instructions, download: Instructions
    ) -> None:
        self._jobs = world.parts.jobs
        self._upload, self._download = upload, download
        self.wire = wire
        self.requests: list[tuple[str, str | None, dict[str, Any]]] = []

    async def upload(self, request: StagingRequest[Any]) -> Staged:
        return await self._staged(request, self._upload)

    async def download(self, request: StagingRequest[Any]) -> Staged:
        return await self._staged(request, self._download)

    async def _staged(self, request: StagingRequest[Any], answer: Instructions) -> Staged:
        reported = request.parameters.model_dump(exclude_none=True)
        self.requests.append((request.path, request.account, reported))
        work = ShellWork(":\n")
        return Staged(await self._jobs.submit("FileTransfer", work, request.account), answer)


@pytest.fixture
async def channel(world: World) -> AsyncIterator[grpc.aio.Channel]:
    """Over the world of the test itself."""
    async with serving_storage(world) as channel:
        yield channel


@pytest.fixture
def s3(world: World) -> Told:
    parts = PartUrls(parts_upload_urls=("u1", "u2"), complete_upload_url="done", max_part_size=5)
    return Told(world, S3.wire, parts, DownloadUrl(download_url="url"))


@pytest.fixture
def wormhole(world: World) -> Told:
    return Told(world, Wormhole.wire, SenderWaits(), WormholeCode(wormhole_code="7-a-b"))


@pytest.fixture
async def staged(world: World, s3: Told, wormhole: Told) -> AsyncIterator[grpc.aio.Channel]:
    parts = world.parts
    streamer = Streamer(parts.config, parts.files, parts.jobs, Streamer.Options(wait_timeout=1))
    methods: dict[str, Staging] = {"s3": s3, "streamer": streamer, "wormhole": wormhole}
    staging = world.staging(methods)
    there = replace(world, parts=replace(parts, staging=staging))
    async with serving_storage(there) as channel:
        yield channel
    await staging.close()


@pytest.fixture
def transfers(staged: grpc.aio.Channel) -> Transfers:
    return Transfers(staged)


@pytest.fixture
def bare(channel: grpc.aio.Channel) -> Transfers:
    """Of a system without staging methods."""
    return Transfers(channel)


def log(reply: Reply, which: str = "outputLog") -> str:
    return Path(reply.json["transferJob"]["logs"][which]).read_text()


async def test_move_copy_compress_extract_and_remove(bare: Transfers, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("content")
    steps = (
        ("Move", {"sourcePath": "a", "targetPath": "b"}, "moved"),
        ("Copy", {"source_path": "b", "target_path": "c", "account": None}, "copied"),
        ("Compress", {"path": "c", "targetPath": "c.tbz", "compression": "bzip2"}, "compressed"),
        ("Extract", {"path": "c.tbz", "targetPath": "out", "compression": "bzip2"}, "extracted"),
    )
    (tmp_path / "out").mkdir()
    for method, body, done in steps:
        paths = {
            key: str(tmp_path / value) if key.lower().endswith("path") else value
            for key, value in body.items()
            if value
        }
        reply = await bare.send(method, **paths)
        assert reply.status == 201
        assert f"Files were successfully {done}." in log(reply), log(reply, "errorLog")
        assert set(reply.json) == {"transferJob"}
        assert set(reply.json["transferJob"]) == {"jobId", "system", "workingDirectory", "logs"}
    removed = await bare.remove(tmp_path / "b")
    assert (removed.status, (tmp_path / "b").exists()) == (200, False)
    assert (tmp_path / "out" / "c").read_text() == "content"


@pytest.mark.parametrize("method", ["Move", "Copy", "Compress", "Extract"])
async def test_a_target_has_to_lie_in_the_filesystems(
    bare: Transfers, world: World, tmp_path: Path, method: str
) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "out").symlink_to("/var")
    for target in ("/etc/x", f"{tmp_path}/out/x", f"{tmp_path}/../../../etc/x", "relative"):
        reply = await bare.send(method, sourcePath=str(tmp_path / "a"), targetPath=target)
        assert reply.status == 400
    assert not world.compute.submitted


async def test_a_source_has_to_lie_in_the_filesystems(
    bare: Transfers, world: World, tmp_path: Path
) -> None:
    (tmp_path / "passwd").symlink_to("/etc/passwd")
    (tmp_path / "out").symlink_to("/etc")
    link, through = str(tmp_path / "passwd"), str(tmp_path / "out" / "passwd")
    target = str(tmp_path / "x")
    refused = [
        await bare.send("Copy", sourcePath=link, targetPath=target, dereference=True),
        await bare.send("Extract", sourcePath=link, targetPath=str(tmp_path)),
        await bare.send("Move", sourcePath=through, targetPath=target),
        await bare.send("Move", sourcePath="/etc/passwd", targetPath=target),
        await bare.send("Compress", sourcePath=str(tmp_path), targetPath=target, matchPattern="."),
        await bare.remove(through),
    ]
    assert [reply.status for reply in refused] == [400] * 6
    assert not world.compute.submitted
    moved = await bare.send("Move", sourcePath=link, targetPath=target)  # the link itself
    assert (moved.status, (tmp_path / "x").is_symlink()) == (201, True)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "targetPath"),
        ({"targetPath": 1}, "targetPath"),
        ({"targetPath": "/x\0"}, "targetPath"),
        ({"targetPath": "/x", "account": 5}, "account"),
        ({"targetPath": "/x", "dereference": "perhaps"}, "dereference"),
    ],
)
async def test_what_is_wrong_is_named(
    bare: Transfers, tmp_path: Path, body: dict[str, Any], field: str
) -> None:
    reply = await bare.send("Copy", sourcePath=str(tmp_path / "a"), **body)
    assert reply.status == 400
    assert [item["name"] for item in reply.json["data"]["fields"]] == [field]


async def test_no_job_opens_a_pipe(transfers: Transfers, world: World, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    path, s3 = str(tmp_path / "fifo"), {"transferMethod": "streamer", "fileSize": 1}
    for method, more in (
        ("Extract", {"targetPath": str(tmp_path)}),
        ("Download", {"transferDirectives": s3}),
        ("Upload", {"transferDirectives": s3}),
    ):
        reply = await transfers.send(method, path=path, **more)
        assert reply.status in (400, 403), reply.message
    assert not world.compute.submitted


async def test_what_compute_answers_comes_back(
    bare: Transfers, world: World, tmp_path: Path
) -> None:
    world.compute.refusal = BackendError("Unexpected Slurm command response.")
    path = str(tmp_path / "a")
    reply = await bare.send("Copy", sourcePath=path, targetPath=path)
    assert (reply.status, reply.message) == (500, "Unexpected Slurm command response.")


async def test_an_unknown_system_is_404(bare: Transfers) -> None:
    request = pb.RemoveByJobRequest(system="nope", path="/x")
    reply = await _reply(bare._stub.Remove(request, metadata=REST))
    assert (reply.status, reply.message) == (404, "System not found")


async def test_s3_says_where_the_parts_go_and_nothing_else(
    transfers: Transfers, s3: Told, tmp_path: Path
) -> None:
    path = str(tmp_path / "new")
    request = {"transfer_method": "s3", "fileSize": "7"}
    reply = await transfers.send("Upload", source_path=path, transferDirectives=request)
    assert reply.status == 201
    assert reply.json["transferDirectives"] == {
        "transferMethod": "s3",
        "partsUploadUrls": ["u1", "u2"],
        "completeUploadUrl": "done",
        "maxPartSize": 5,
    }
    request = {"transferMethod": "s3"}
    reply = await transfers.send("Download", path=path, account="p", transfer_directives=request)
    assert reply.json["transferDirectives"] == {"transferMethod": "s3", "downloadUrl": "url"}
    assert s3.requests == [
        (path, None, {"transfer_method": "s3", "file_size": 7}),
        (path, "p", {"transfer_method": "s3"}),
    ]


async def test_pyfirecrest_before_3_7_stages_as_it_knows_it(
    transfers: Transfers, s3: Told, tmp_path: Path
) -> None:
    """It sends no `Content-Type`, and reads what it needs beside `transferDirectives`."""
    request = {"source_path": str(tmp_path), "fileName": "new", "fileSize": 7}
    reply = await transfers.send_untyped("Upload", **request)
    parts = {"partsUploadUrls": ["u1", "u2"], "completeUploadUrl": "done", "maxPartSize": 5}
    assert (reply.status, reply.json | parts) == (201, reply.json)
    assert reply.json["transferDirectives"]["complete_upload_url"] == "done"
    reply = await transfers.send_untyped("Download", source_path=str(tmp_path), account="p")
    assert (reply.json["downloadUrl"], "complete_upload_url" in reply.body.decode()) == (
        "url",
        False,
    )
    assert s3.requests == [
        (f"{tmp_path}/new", None, {"transfer_method": "s3", "file_size": 7}),
        (str(tmp_path), "p", {"transfer_method": "s3"}),
    ]


async def test_an_old_client_may_ask_as_today_too(
    transfers: Transfers, s3: Told, tmp_path: Path
) -> None:
    request = {
        "path": str(tmp_path / "new"),
        "transfer_directives": {"transfer_method": "wormhole"},
    }
    reply = await transfers.send_untyped("Download", **request)
    assert reply.json["wormholeCode"] == reply.json["transferDirectives"]["wormholeCode"]
    assert s3.requests == []


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"fileName": "x"}', b'{"path": 3, "fileName": "x"}']
)
async def test_an_old_clients_mistakes_are_told(transfers: Transfers, body: bytes) -> None:
    request = BodyRequest(system="lab", body=HttpBody(data=body))
    assert (await _reply(transfers._stub.Upload(request, metadata=REST))).status == 400


async def test_wormhole_wants_a_code_for_uploads_and_gives_one_for_downloads(
    transfers: Transfers, wormhole: Told, tmp_path: Path
) -> None:
    path, request = str(tmp_path / "f"), {"transfer_method": "wormhole"}
    missing = await transfers.send("Upload", path=path, transferDirectives=request)
    assert missing.status == 400
    assert missing.json["data"]["fields"][0]["name"] == "transferDirectives"
    given = request | {"wormholeCode": "1-x-y"}
    reply = await transfers.send("Upload", path=path, transferDirectives=given)
    assert reply.json["transferDirectives"] == {"transferMethod": "wormhole"}
    parameters = {"transfer_method": "wormhole", "wormhole_code": "1-x-y"}
    assert wormhole.requests == [(path, None, parameters)]
    reply = await transfers.send("Download", path=path, transferDirectives=request)
    assert reply.json["transferDirectives"]["wormholeCode"] == "7-a-b"


async def test_a_streamers_secret_is_in_its_reply_and_nowhere_else(
    transfers: Transfers, world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "f").write_text("x")
    body = {"path": str(tmp_path / "f"), "transferDirectives": {"transferMethod": "streamer"}}
    reply = await transfers.send("Download", **body)
    assert reply.status == 201, reply.body
    coordinates = reply.json["transferDirectives"]["coordinates"]
    secret = json.loads(base64.urlsafe_b64decode(coordinates))["secret"]
    submitted = repr(world.compute.submitted)
    left = "".join(path.read_text() for path in tmp_path.iterdir())
    for reported in (submitted, left, caplog.text):
        assert secret not in reported
        assert coordinates not in reported


async def test_an_upload_by_streamer_does_not_replace_a_file(
    transfers: Transfers, world: World, tmp_path: Path
) -> None:
    path = tmp_path / "f"
    path.write_text("x")
    request = {"transfer_method": "streamer", "file_size": 3}
    reply = await transfers.send("Upload", path=str(path), transferDirectives=request)
    assert (reply.status, reply.message) == (403, f"Target file '{path}' already exists.")
    assert not world.compute.submitted


async def test_a_download_of_nothing_is_404(transfers: Transfers, tmp_path: Path) -> None:
    request = {"transfer_method": "streamer"}
    reply = await transfers.send("Download", path=f"{tmp_path}/nope", transferDirectives=request)
    assert reply.status == 404
    assert "No such file or directory" in reply.message


@pytest.mark.parametrize("method", ["Upload", "Download"])
async def test_the_method_has_to_be_there(bare: Transfers, tmp_path: Path, method: str) -> None:
    path, request = str(tmp_path / "f"), {"transferMethod": "s3", "fileSize": 1}
    reply = await bare.send(method, path=path, transferDirectives=request)
    assert reply.status == 400
    assert reply.message == (
        "Requested transfer method is not available. Available on this system: none. Files of up to 100000 bytes go "
        "by ops/upload and ops/download, of any size by /v1/systems/lab/files:content."
    )
    for invalid in ({"transferMethod": "pigeon"}, {}, None, "s3"):
        reply = await bare.send(method, path=path, transferDirectives=invalid)
        assert reply.status == 400
        assert reply.json["data"]["fields"][0]["name"] == "transferDirectives"


async def test_the_native_api_stages_too(
    staged: grpc.aio.Channel, channel: grpc.aio.Channel, s3: Told, wormhole: Told, tmp_path: Path
) -> None:
    stub: native_grpc.TransferServiceAsyncStub = native_grpc.TransferServiceStub(staged)
    path = str(tmp_path / "f")
    first = await stub.StageUpload(
        native_pb.StageUploadRequest(system="lab", path=path, size_bytes=7), metadata=METADATA
    )
    assert list(first.s3.part_urls) == ["u1", "u2"]
    assert first.job.system == "lab"
    assert first.job.output_log.startswith(f"{tmp_path}/.f7t_file_handling_job_")
    assert s3.requests == [(path, None, {"transfer_method": "s3", "file_size": 7})]
    assert (first.method, first.WhichOneof("directives")) == ("s3", "s3")
    download = native_pb.StageDownloadRequest(system="lab", path=path, method="wormhole")
    second = await stub.StageDownload(download, metadata=METADATA)
    assert (second.method, second.wormhole.code) == ("wormhole", "7-a-b")
    without: native_grpc.TransferServiceAsyncStub = native_grpc.TransferServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await without.StageDownload(download, metadata=METADATA)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.aio.AioRpcError, match="in none of the filesystems"):
        await stub.StageUpload(
            native_pb.StageUploadRequest(system="lab", path="/etc/x"), metadata=METADATA
        )


def test_every_method_is_described() -> None:
    methods = pb.DESCRIPTOR.services_by_name["TransferService"].methods
    assert set(OPENAPI) == {method.name for method in methods}

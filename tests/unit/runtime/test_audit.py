"""The audit log: a line for each call that changes something or is refused, and what stands in it."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.empty_pb2 import Empty

from passerelle.firecrest.v2 import filesystem_pb2 as f7t
from passerelle.firecrest.v2 import filesystem_pb2_grpc as f7t_grpc
from passerelle.runtime import log_fields
from passerelle.runtime.caller import Caller
from passerelle.runtime.errors import Forbidden, NotFound, Overloaded, Unauthenticated
from passerelle.runtime.headers import CLIENT_ADDRESS, REST, SERVICE_SECRET
from passerelle.runtime.pipeline import audit
from passerelle.runtime.pipeline.log_lines import configure_logging
from passerelle.runtime.pipeline.stages import (
    authorise,
    in_time,
    map_errors,
    observe,
)
from passerelle.surfaces.native import Native
from passerelle.v1 import (
    auth_pb2,
    auth_pb2_grpc,
    compute_pb2,
    compute_pb2_grpc,
    storage_pb2,
    storage_pb2_grpc,
)
from passerelle.v1.access_pb2 import Access
from tests.grpc_service import channel_to

ALICE = (("authorization", "Bearer alice"), ("x-request-id", "r-1"))
WHO = {"issuer": "https://idp", "subject": "s-alice", "client_id": "portal", "user": "alice"}


class Authority:
    """Takes the token for the user name; nobody may use the system `secret`."""

    async def caller(self, token: str, *, access: Access, system: str) -> Caller:
        if token == "expired":
            raise Unauthenticated("Access token expired")
        if system == "secret":
            raise Forbidden("No.")
        return Caller(token, token, WHO["issuer"], f"s-{token}", WHO["client_id"])


class Compute(compute_pb2_grpc.ComputeServiceServicer):
    async def SubmitJob(self, request: Any, context: Any) -> Any:
        log_fields.bind(job_id="77")
        return compute_pb2.Job(job_id="77")

    async def CancelJob(self, request: Any, context: Any) -> Any:
        if request.job_id == "none":
            raise NotFound("No job none.")
        return Empty()

    async def GetJob(self, request: Any, context: Any) -> Any:
        if request.job_id == "full":
            raise Overloaded("Too many calls.")
        return compute_pb2.GetJobResponse()


class Storage(storage_pb2_grpc.StorageServiceServicer):
    async def WriteFile(self, requests: Any, context: Any) -> Any:
        async for _ in requests:
            pass
        return storage_pb2.WriteFileResponse()

    async def DeleteFile(self, request: Any, context: Any) -> Any:
        yield storage_pb2.FileProgress(entries_done=1)
        raise NotFound("gone")


class Internal(auth_pb2_grpc.AccessServiceServicer):
    async def Authorize(self, request: Any, context: Any) -> Any:
        raise Unauthenticated("Access token is invalid.")


class Profile(f7t_grpc.FilesystemServiceServicer):
    async def MakeSymlink(self, request: Any, context: Any) -> Any:
        return HttpBody()


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    def register(server: grpc.aio.Server) -> None:
        compute_pb2_grpc.add_ComputeServiceServicer_to_server(Compute(), server)  # type: ignore[abstract]
        storage_pb2_grpc.add_StorageServiceServicer_to_server(Storage(), server)  # type: ignore[abstract]
        auth_pb2_grpc.add_AccessServiceServicer_to_server(Internal(), server)  # type: ignore[abstract]
        f7t_grpc.add_FilesystemServiceServicer_to_server(Profile(), server)  # type: ignore[abstract]

    stages = [observe, map_errors, in_time(5), authorise(Authority(), "s3cret")]
    async with channel_to(register, stages) as opened:
        yield opened


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> "Lines":
    caplog.set_level(logging.INFO, audit.log.name)
    return Lines(caplog)


class Lines:
    """What was written, without what every line has."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self._usual = set(vars(logging.makeLogRecord({}))) | {"message"}

    def __call__(self) -> list[dict[str, Any]]:
        records = [r for r in self._caplog.records if r.name == audit.log.name]
        return [{k: v for k, v in vars(r).items() if k not in self._usual} for r in records]

    async def only(self) -> dict[str, Any]:
        """The one line; it may be written when the caller has its answer already."""
        async with asyncio.timeout(10):
            while not self():
                await asyncio.sleep(0.005)
        (line,) = self()
        return line


async def outcome(call: Any) -> None:
    """Wait for the end of a call, good or bad."""
    with suppress(grpc.aio.AioRpcError):
        await call


def cancel(channel: grpc.aio.Channel, metadata: Any = ALICE, **request: str) -> Any:
    body = compute_pb2.CancelJobRequest(**{"system": "daint", "job_id": "7", **request})
    return compute_pb2_grpc.ComputeServiceStub(channel).CancelJob(body, metadata=metadata)


async def test_a_change_says_who_did_what_to_what(channel: grpc.aio.Channel, lines: Lines) -> None:
    await cancel(channel, (*ALICE, (CLIENT_ADDRESS, "192.0.2.7")))
    assert (await lines.only()) == {
        **WHO,
        "request_id": "r-1",
        "address": "192.0.2.7",
        "method": "/passerelle.v1.ComputeService/CancelJob",
        "system": "daint",
        "job_id": "7",
        "outcome": "OK",
    }


async def test_a_job_that_is_submitted_has_its_new_id(
    channel: grpc.aio.Channel, lines: Lines
) -> None:
    stub = compute_pb2_grpc.ComputeServiceStub(channel)
    job = compute_pb2.JobDescription(script="true")
    await stub.SubmitJob(compute_pb2.SubmitJobRequest(system="daint", job=job), metadata=ALICE)
    assert (await lines.only())["job_id"] == "77"


async def test_a_change_that_failed_says_so(channel: grpc.aio.Channel, lines: Lines) -> None:
    await outcome(cancel(channel, job_id="none"))
    assert ((await lines.only())["outcome"], (await lines.only())["reason"]) == (
        "NOT_FOUND",
        "NOT_FOUND",
    )


async def test_looking_leaves_no_line(channel: grpc.aio.Channel, lines: Lines) -> None:
    stub = compute_pb2_grpc.ComputeServiceStub(channel)
    await stub.GetJob(compute_pb2.GetJobRequest(system="daint", job_id="7"), metadata=ALICE)
    assert lines() == []


@pytest.mark.parametrize(
    ("token", "system", "job_id", "expected"),
    [
        ("expired", "daint", "7", "UNAUTHENTICATED"),
        ("alice", "secret", "7", "PERMISSION_DENIED"),
        ("alice", "daint", "full", "RESOURCE_EXHAUSTED"),
    ],
)
async def test_whatever_is_refused_leaves_a_line(
    channel: grpc.aio.Channel, lines: Lines, token: str, system: str, job_id: str, expected: str
) -> None:
    stub = compute_pb2_grpc.ComputeServiceStub(channel)
    request = compute_pb2.GetJobRequest(system=system, job_id=job_id)
    await outcome(stub.GetJob(request, metadata=(("authorization", f"Bearer {token}"),)))
    line = await lines.only()
    assert line["outcome"] == expected
    assert line["address"].startswith(("ipv4:127.0.0.1", "ipv6:"))
    assert token == "alice" or token not in str(line)


async def test_a_refusal_that_is_shown_as_something_else_leaves_its_line(
    channel: grpc.aio.Channel, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = {"FORBIDDEN": lambda error: NotFound("Nothing here.")}
    monkeypatch.setattr(Native, "replaced", hidden)
    request = compute_pb2.GetJobRequest(system="secret", job_id="7")
    stub = compute_pb2_grpc.ComputeServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as shown:
        await stub.GetJob(request, metadata=ALICE)
    assert (shown.value.code(), shown.value.details()) == (
        grpc.StatusCode.NOT_FOUND,
        "Nothing here.",
    )
    assert ((await lines.only())["outcome"], (await lines.only())["reason"]) == (
        "PERMISSION_DENIED",
        "FORBIDDEN",
    )


@pytest.mark.parametrize(("secret", "count"), [("s3cret", 0), ("guessed", 1)])
async def test_what_our_services_tell_each_other_is_no_refusal(
    channel: grpc.aio.Channel, lines: Lines, secret: str, count: int
) -> None:
    stub = auth_pb2_grpc.AccessServiceStub(channel)
    shown = ((SERVICE_SECRET, secret),)
    await outcome(stub.Authorize(auth_pb2.AuthorizeRequest(token="bad"), metadata=shown))
    if count:
        await lines.only()
    assert len(lines()) == count


async def test_streams_have_their_line_at_their_end(
    channel: grpc.aio.Channel, lines: Lines
) -> None:
    stub = storage_pb2_grpc.StorageServiceStub(channel)

    async def pieces() -> AsyncIterator[storage_pb2.WriteFileRequest]:
        yield storage_pb2.WriteFileRequest(system="daint", raw_path=b"/scratch/\xff")
        assert lines() == []
        yield storage_pb2.WriteFileRequest()

    await stub.WriteFile(pieces(), metadata=ALICE)
    assert ((await lines.only())["path"], (await lines.only())["outcome"]) == (
        "/scratch/\\xff",
        "OK",
    )


async def test_a_stream_that_broke_off_is_no_success(
    channel: grpc.aio.Channel, lines: Lines
) -> None:
    """Though over REST its status was sent already."""
    stub = storage_pb2_grpc.StorageServiceStub(channel)
    request = storage_pb2.DeleteFileRequest(system="daint", path="/scratch/x")
    assert [m async for m in stub.DeleteFile(request, metadata=(*ALICE, (REST, "1")))]
    assert ((await lines.only())["path"], (await lines.only())["outcome"]) == (
        "/scratch/x",
        "NOT_FOUND",
    )


@pytest.mark.parametrize("source", ["sourcePath", "source_path", "path"])
async def test_paths_of_the_profile(channel: grpc.aio.Channel, lines: Lines, source: str) -> None:
    body = HttpBody(data=json.dumps({source: "/a", "linkPath": "/b", "script": "no"}).encode())
    stub = f7t_grpc.FilesystemServiceStub(channel)
    await stub.MakeSymlink(f7t.BodyRequest(system="daint", body=body), metadata=ALICE)
    assert ((await lines.only())["path"], (await lines.only())["target"]) == ("/a", "/b")
    assert "no" not in (await lines.only()).values()


@pytest.mark.parametrize("body", [b"", b"[", b"[1]", b'{"path": 5, "targetPath": null}'])
async def test_a_body_that_cannot_be_read(
    channel: grpc.aio.Channel, lines: Lines, body: bytes
) -> None:
    stub = f7t_grpc.FilesystemServiceStub(channel)
    request = f7t.BodyRequest(system="daint", body=HttpBody(data=body))
    await stub.MakeSymlink(request, metadata=ALICE)
    assert not {"path", "target"} & set(await lines.only())


async def test_values_are_bounded(channel: grpc.aio.Channel, lines: Lines) -> None:
    await cancel(channel, job_id="7" * 10_000)
    assert max(len(str(value)) for value in (await lines.only()).values()) <= 512


@pytest.fixture
def audit_log(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "audit.log"
    root, handlers = logging.getLogger(), logging.getLogger().handlers[:]
    configure_logging("compute", audit_log=path)
    yield path
    root.handlers[:] = handlers
    for handler in audit.log.handlers[:]:
        audit.log.removeHandler(handler)
        handler.close()
    audit.log.propagate = True


async def test_the_file_has_one_line_of_json_for_each(
    channel: grpc.aio.Channel, audit_log: Path
) -> None:
    for job_id in ("7\n{}", "8\u2028\x1b[2J", "9"):
        await cancel(channel, job_id=job_id)
    written = audit_log.read_text()
    assert written.isascii()
    assert written.replace("\n", "").isprintable()
    document = [json.loads(line) for line in written.split("\n")[:-1]]
    assert [line["job_id"] for line in document] == ["7\n{}", "8\u2028\x1b[2J", "9"]
    assert {line["service"] for line in document} == {"compute"}
    assert all(line["time"] for line in document)
    assert audit_log.stat().st_mode & 0o777 == 0o600


async def test_a_file_that_was_moved_away_is_begun_again(
    channel: grpc.aio.Channel, audit_log: Path
) -> None:
    await cancel(channel, job_id="1")
    audit_log.rename(audit_log.with_suffix(".1"))
    await cancel(channel, job_id="2")
    assert [json.loads(line)["job_id"] for line in audit_log.read_text().splitlines()] == ["2"]

"""Fields of log lines: bound once in a call, they stand in all its lines, and in no other call's."""

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from passerelle.runtime import background, caller, log_fields
from passerelle.runtime.caller import Caller
from passerelle.runtime.flight import Flights
from passerelle.runtime.log_fields import CallFields
from passerelle.runtime.pipeline.log_lines import JsonLine
from passerelle.runtime.pipeline.stages import authorise, in_time, map_errors, observe
from passerelle.v1 import compute_pb2, compute_pb2_grpc, storage_pb2, storage_pb2_grpc
from passerelle.v1.access_pb2 import Access
from tests.grpc_service import channel_to
from tests.log_lines import Lines, logged_lines

log = logging.getLogger("test")


class Authority:
    """Takes the token for the user name."""

    async def caller(self, token: str, *, access: Access, system: str) -> Caller:
        return Caller(token, token, "https://idp", f"s-{token}", "portal")


class Compute(compute_pb2_grpc.ComputeServiceServicer):
    """Submits in a task of its own, as transfer jobs are."""

    async def SubmitJob(self, request: Any, context: Any) -> Any:
        log.info("before")
        await asyncio.create_task(self._submit(request.job.name))
        await asyncio.sleep(0.01)
        log.info("after")
        return compute_pb2.Job()

    async def _submit(self, job_id: str) -> None:
        await asyncio.sleep(0.01)
        log_fields.bind(job_id=job_id)
        log.info("within")


class Storage(storage_pb2_grpc.StorageServiceServicer):
    async def WalkFiles(self, request: Any, context: Any) -> Any:
        for number in range(3):
            log_fields.bind(transfer=request.path)
            await asyncio.sleep(0.005)
            log.info("walking")
            yield storage_pb2.WalkFilesResponse(files=[storage_pb2.File(name=str(number))])


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    def register(server: grpc.aio.Server) -> None:
        compute_pb2_grpc.add_ComputeServiceServicer_to_server(Compute(), server)  # type: ignore[abstract]
        storage_pb2_grpc.add_StorageServiceServicer_to_server(Storage(), server)  # type: ignore[abstract]

    stages = [observe, map_errors, in_time(5), authorise(Authority(), "s3cret")]
    async with channel_to(register, stages) as opened:
        yield opened


@pytest.fixture
def lines() -> Iterator[Lines]:
    with logged_lines() as lines:
        yield lines


def metadata(user: str, request_id: str) -> Any:
    return (("authorization", f"Bearer {user}"), ("x-request-id", request_id))


async def submit(channel: grpc.aio.Channel, number: int) -> None:
    stub = compute_pb2_grpc.ComputeServiceStub(channel)
    job = compute_pb2.JobDescription(name=f"job-{number}", script="true")
    request = compute_pb2.SubmitJobRequest(system=f"system-{number}", job=job)
    await stub.SubmitJob(request, metadata=metadata(f"user{number}", f"submit-{number}"))


async def walk(channel: grpc.aio.Channel, number: int) -> None:
    stub = storage_pb2_grpc.StorageServiceStub(channel)
    request = storage_pb2.WalkFilesRequest(system=f"other-{number}", path=f"/{number}")
    async for _ in stub.WalkFiles(request, metadata=metadata(f"walker{number}", f"walk-{number}")):
        await asyncio.sleep(0.001)


async def test_what_is_bound_stands_in_every_further_line_of_its_call_and_in_no_other(
    channel: grpc.aio.Channel, lines: Lines
) -> None:
    """Many calls at once, streams among them; what a task of a call binds, the whole call has."""
    calls = [call(channel, number) for number in range(8) for call in (submit, walk)]
    await asyncio.gather(*calls)
    by_call: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in lines():
        by_call[line.get("request_id", "")].append(line)
    for number in range(8):
        who = {"user": f"user{number}", "issuer": "https://idp", "client_id": "portal"}
        usual = {**who, "subject": f"s-user{number}", "system": f"system-{number}"}
        submitted = by_call[f"submit-{number}"]
        messages = [line["message"] for line in submitted]
        assert messages == ["before", "within", "after", "answered", "call"]
        assert all(line.items() >= usual.items() for line in submitted)
        assert [line.get("job_id") for line in submitted] == [None, *[f"job-{number}"] * 4]
        walked = by_call[f"walk-{number}"]
        assert [line["message"] for line in walked] == ["walking"] * 3 + ["answered"]
        assert {line["transfer"] for line in walked} == {f"/{number}"}
        assert {line["system"] for line in walked} == {f"other-{number}"}
        assert not any("job_id" in line for line in walked)


async def test_a_later_call_on_the_same_connection_has_fields_of_its_own(
    channel: grpc.aio.Channel, lines: Lines
) -> None:
    await submit(channel, 1)
    await walk(channel, 2)
    walked = [line for line in lines() if line.get("request_id") == "walk-2"]
    assert walked
    assert not any("job_id" in line for line in walked)


async def test_work_that_outlives_its_call_has_none_of_its_fields(lines: Lines) -> None:
    async def lasting() -> Caller:
        log_fields.bind(job_id="its own")
        log.info("lasting")
        return caller.current()

    fields = CallFields({"request_id": "r-1"})
    with log_fields.of_call(fields), caller.bind(Caller("alice", "t0ken")):
        work = background.start(lasting(), system="daint")
        with pytest.raises(LookupError):
            await work
    (line,) = lines()
    assert "request_id" not in line
    assert (line["system"], line["job_id"]) == ("daint", "its own")
    assert fields.logged == {"request_id": "r-1"}


async def test_shared_work_has_the_fields_of_who_asked_first(lines: Lines) -> None:
    flights = Flights()

    async def work() -> None:
        await asyncio.sleep(0)
        log.info("shared")

    async def ask(request_id: str) -> None:
        with log_fields.of_call(CallFields({"request_id": request_id})):
            await flights.run("k", work)
            log.info("mine")

    await asyncio.gather(ask("r-1"), ask("r-2"))
    log_lines = [(line["message"], line["request_id"]) for line in lines()]
    assert log_lines == [("shared", "r-1"), ("mine", "r-1"), ("mine", "r-2")]


def test_outside_of_a_call_nothing_is_bound(lines: Lines) -> None:
    log_fields.bind(job_id="7")
    log_fields.note(path="/x")
    log.info("outside")
    (line,) = lines()
    assert set(line) == {"time", "level", "logger", "message", "service"}


def test_what_is_noted_is_for_the_audit_log_alone(lines: Lines) -> None:
    fields = CallFields()
    with log_fields.of_call(fields):
        log_fields.note(path="/home/alice/secret")
        log.info("noted")
    assert "path" not in lines()[0]
    assert fields.audited == {"path": "/home/alice/secret"}


def test_a_line_is_what_operators_tools_have_always_read(lines: Lines, tmp_path: Path) -> None:
    """The same keys for libraries' lines as for ours: level in capitals, tracebacks in `exc_info`."""
    try:
        (tmp_path / "none").read_text()
    except OSError:
        log.exception("it %s", "fäiled\n", extra={"path": tmp_path, "count": 3})
    (line,) = lines()
    assert list(line)[:5] == ["time", "level", "logger", "message", "service"]
    assert (line["level"], line["logger"], line["message"]) == ("ERROR", "test", "it fäiled\n")
    assert line["exc_info"].startswith("Traceback (most recent call last):\n")
    assert "FileNotFoundError" in line["exc_info"]
    assert line["count"] == 3
    assert str(tmp_path) in line["path"]
    assert len(line["time"]) == len("2026-11-28T21:42:49+0000")


@pytest.mark.parametrize(
    ("message", "size"), [("a\nb\x1b[2J", 1), ("a\u2028ü", 1), ("\ud800", 1), ("plain", 2**70)]
)
def test_a_line_is_ascii_without_line_breaks(message: str, size: int) -> None:
    record = logging.makeLogRecord({"msg": message, "name": "n", "size": size})
    text = JsonLine("compute").format(record)
    assert text.isascii()
    assert text.isprintable()
    assert (json.loads(text)["message"], json.loads(text)["size"]) == (message, size)


def test_one_of_several_things_is_bound_for_its_own_lines_only(lines: Lines) -> None:
    with log_fields.of_call(CallFields({"user": "alice"})):
        for number in ("1", "2"):
            with log_fields.bound(job_id=number):
                log.info("one")
        log.info("all")
    log_lines = [(line["message"], line["user"], line.get("job_id")) for line in lines()]
    assert log_lines == [("one", "alice", "1"), ("one", "alice", "2"), ("all", "alice", None)]

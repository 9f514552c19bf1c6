"""Lines of requests that go no further than Envoy: bounded, and none uncounted."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from passerelle.auth.envoy.access_log_service import AccessLogService
from passerelle.auth.envoy.rejected_requests import RejectedRequests
from passerelle.edge import access_log_pb2 as pb
from passerelle.runtime.errors import Unauthenticated
from passerelle.runtime.pipeline import audit


class Clock:
    """A clock that stands until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Lines(logging.Handler):
    """The audit lines, as they are written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.written.append(record)


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    handler, level = Lines(), audit.log.level
    audit.log.addHandler(handler)
    audit.log.setLevel(logging.INFO)
    yield handler.written
    audit.log.removeHandler(handler)
    audit.log.setLevel(level)


def flood(rejected: RejectedRequests, address: str, count: int) -> None:
    for number in range(count):
        rejected.write(
            method="GET /", request_id=str(number), address=address, error=Unauthenticated
        )


def test_a_flood_of_one_address_hides_no_other(lines: list[Any]) -> None:
    rejected = RejectedRequests(Clock())
    flood(rejected, "192.0.2.1", 10_000)
    flood(rejected, "192.0.2.2", 1)
    assert [line.address for line in lines].count("192.0.2.1") == 20
    assert lines[-1].address == "192.0.2.2"
    rejected.sum_up()
    assert (lines[-1].address, lines[-1].left_out) == ("192.0.2.1", str(10_000 - 20))
    before = len(lines)
    rejected.sum_up()
    assert len(lines) == before


def test_a_flood_of_many_addresses_is_bounded_and_counted(lines: list[Any]) -> None:
    rejected = RejectedRequests(Clock())
    for number in range(5000):
        flood(rejected, f"2001:db8::{number:x}", 1)
    assert len(lines) == 200
    rejected.sum_up()
    assert len(lines) < 1300
    assert sum(int(line.left_out) for line in lines[200:]) == 5000 - 200
    assert lines[-1].address == "others"


def test_lines_come_back_with_time(lines: list[Any]) -> None:
    clock = Clock()
    rejected = RejectedRequests(clock)
    flood(rejected, "192.0.2.1", 100)
    clock.now = 5
    flood(rejected, "192.0.2.1", 100)
    assert len(lines) == 25


@pytest.mark.parametrize(
    ("status", "grpc_status", "outcome"),
    [
        (401, None, "UNAUTHENTICATED"),
        (429, None, "RESOURCE_EXHAUSTED"),
        (200, "16", "UNAUTHENTICATED"),
        (200, "14", "RESOURCE_EXHAUSTED"),
        (400, None, None),
    ],
)
async def test_what_envoy_tells(
    lines: list[Any], status: int, grpc_status: str | None, outcome: str | None
) -> None:
    entry = pb.HTTPAccessLogEntry()
    entry.common_properties.downstream_remote_address.socket_address.address = "192.0.2.1"
    entry.request.request_method = pb.PATCH
    entry.request.path = "/a?b=secret"
    entry.request.request_id = "me"
    entry.response.response_code.value = status
    if grpc_status:
        entry.response.response_headers["grpc-status"] = grpc_status
    message = pb.StreamAccessLogsMessage()
    message.http_logs.log_entry.append(entry)

    async def entries() -> Any:
        yield message

    await AccessLogService(RejectedRequests()).StreamAccessLogs(entries(), None)
    assert [line.outcome for line in lines] == ([outcome] if outcome else [])
    for line in lines:
        method = "/a" if grpc_status else "PATCH /a"
        assert (line.method, line.request_id, line.address) == (method, "me", "192.0.2.1")

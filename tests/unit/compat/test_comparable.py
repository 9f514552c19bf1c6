"""The comparison of replies sees what matters and overlooks what must differ."""

from typing import Any

import pytest

from tests.compat.comparable import View, comparable, recorded_view
from tests.compat.differences import Difference

JOB: dict[str, Any] = {
    "jobId": "12",
    "status": {"state": "CANCELLED by 1001", "exitCode": 0},
    "tasks": [{"id": "12.batch", "status": {}}],
    "time": {"start": 1, "end": None, "limit": 60},
    "nodes": "cn01",
}
LIVE_JOB: dict[str, Any] = {
    "jobId": "77",
    "status": {"state": "CANCELLED by 5001", "exitCode": 0},
    "tasks": [{"id": "77.batch", "status": {}}],
    "time": {"start": 2, "end": None, "limit": 60},
    "nodes": "cn02",
}
RECORDED = recorded_view({"12": "77"})
LIVE = View(users={5001: "alice"}, groups={}, known_jobs=frozenset({"77"}))


def jobs(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"jobs": list(entries)}


def test_ids_clocks_and_nodes_may_differ() -> None:
    assert comparable(jobs(JOB), RECORDED) == comparable(jobs(LIVE_JOB), LIVE)


def test_jobs_that_the_recording_does_not_know_are_overlooked() -> None:
    foreign = LIVE_JOB | {"jobId": "12"}
    assert comparable(jobs(JOB), RECORDED) == comparable(jobs(foreign, LIVE_JOB), LIVE)


@pytest.mark.parametrize(
    "change",
    [
        {"jobId": "78"},
        {"status": {"state": "RUNNING", "exitCode": 0}},
        {"status": {"state": "CANCELLED by 5001", "exitCode": 1}},
        {"time": {"start": None, "end": None, "limit": 60}},
        {"time": {"start": 2, "end": None, "limit": "60"}},
        {"nodes": ""},
        {"account": None},
    ],
    ids=str,
)
def test_anything_else_is_a_difference(change: dict[str, Any]) -> None:
    assert comparable(jobs(JOB), RECORDED) != comparable(jobs(LIVE_JOB | change), LIVE)


def test_wording_counts_except_of_validation() -> None:
    invalid = {"errorType": "error", "message": "slurm-12.out: No such file"}
    right = {"errorType": "error", "message": "slurm-77.out: No such file"}
    assert comparable(invalid, RECORDED) == comparable(right, LIVE)
    assert comparable(invalid, RECORDED) != comparable({**right, "message": "Not found"}, LIVE)
    validation = {"errorType": "validation", "message": "one"}
    assert comparable(validation, LIVE) == comparable({**validation, "message": "two"}, LIVE)


def test_a_difference_demands_its_own_status_and_words() -> None:
    error = {"errorType": "error", "message": "", "causedBy": None, "data": None, "user": "alice"}
    recording = {"status": 500, "headers": {}, "body": error}
    wanted = Difference("missing-job", 404, says="Invalid job id")

    def agrees(status: int, message: str) -> bool:
        actual = {"status": status, "headers": {}, "body": error | {"message": message}}
        return bool(wanted.expected(recording, actual) == actual)

    assert agrees(404, "scancel: Invalid job id 0")
    assert not agrees(500, "scancel: Invalid job id 0")
    assert not agrees(404, "Internal error.")

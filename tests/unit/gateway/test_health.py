"""Background checks: hysteresis, what a failure says about logging in, and that nothing hangs."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY

from passerelle.gateway.directory.checks import Check, Service
from passerelle.gateway.directory.health import SystemChecks
from passerelle.gateway.directory.systems import Directory, Health
from passerelle.runtime.config.site import System
from passerelle.runtime.errors import (
    ApiError,
    BackendError,
    ConnectionFailed,
    Forbidden,
    Overloaded,
    Unauthenticated,
)

SYSTEM = System.model_validate(
    {
        "name": "daint",
        "ssh": {"host": "login.example.org"},
        "scheduler": {"type": "slurm"},
        "filesystems": [
            {"path": "/home", "data_type": "users"},
            {"path": "/scratch", "data_type": "scratch"},
        ],
        "probing": {"failures": 2, "timeout": 0.2, "interval": 60},
    }
)


class Answers:
    """Fails as told; `broken` maps `scheduler` or a path to the error to raise."""

    def __init__(self) -> None:
        self.broken: dict[str, Exception] = {}
        self.hangs: set[str] = set()

    async def ready(self, system: System) -> None:
        pass

    async def ask(self, check: Check, system: System, path: str) -> str | None:
        await self._answer(path or check.service)
        return "slurmctld is up" if check.service == Service.SCHEDULER else None

    async def _answer(self, what: str) -> None:
        if what in self.hangs:
            await asyncio.sleep(60)
        if what in self.broken:
            raise self.broken[what]


class Watched:
    """The checks of one system, and what the directory says after each round."""

    def __init__(self) -> None:
        self.answers = Answers()
        self.directory = Directory([SYSTEM])
        self.checks = SystemChecks(SYSTEM, self.answers, self.directory)

    async def round(self) -> Callable[..., Health]:
        await self.checks.round()
        health_checks = {(h.service, h.path): h for h in self.directory.get("daint").health}
        return lambda service, path=None: health_checks[service, path]

    def break_all(self, error: Exception) -> None:
        self.answers.broken = dict.fromkeys(("scheduler", "/home", "/scratch"), error)


def measured(metric: str, **labels: str) -> float | None:
    """A metric's value for the system under test."""
    return REGISTRY.get_sample_value(metric, {"system": "daint", **labels})


async def test_what_is_measured() -> None:
    watched, began = Watched(), time.time()
    await watched.round()
    watched.answers.broken["/home"] = BackendError("I/O error")
    await watched.round()
    await watched.round()
    result = {
        path: measured("passerelle_system_healthy", check="filesystem", path=path)
        for path in ("/home", "/scratch")
    }
    assert result == {"/home": 0, "/scratch": 1}
    assert measured("passerelle_system_healthy", check="scheduler", path="") == 1
    assert measured("passerelle_system_check_seconds", check="ssh", path="") is not None
    checked = measured("passerelle_system_checked_timestamp_seconds")
    assert checked is not None
    assert began <= checked <= time.time()


async def test_a_bug_of_ours_is_no_answer_of_the_system() -> None:
    watched = Watched()
    watched.break_all(ApiError("Internal error."))
    await watched.round()
    health = await watched.round()
    assert not health(Service.SSH).healthy


async def test_all_is_well() -> None:
    health = await Watched().round()
    assert health(Service.SCHEDULER).healthy
    assert health(Service.SCHEDULER).message == "slurmctld is up"
    assert health(Service.SSH).healthy
    assert health(Service.FILESYSTEM, "/home").healthy
    assert health(Service.FILESYSTEM, "/scratch").latency >= 0


async def test_one_failure_is_no_verdict_but_a_second_one_is_and_one_success_heals() -> None:
    watched = Watched()
    watched.answers.broken["/home"] = BackendError("stale NFS handle")
    health = await watched.round()
    assert health(Service.FILESYSTEM, "/home").healthy
    assert health(Service.FILESYSTEM, "/home").message == "1 of 2 checks failed: stale NFS handle"
    health = await watched.round()
    assert not health(Service.FILESYSTEM, "/home").healthy
    assert health(Service.FILESYSTEM, "/home").message == "stale NFS handle"
    assert health(Service.FILESYSTEM, "/scratch").healthy
    assert health(Service.SSH).healthy  # the system answered, though badly
    watched.answers.broken.clear()
    health = await watched.round()
    assert health(Service.FILESYSTEM, "/home").healthy


async def test_no_connection_makes_ssh_unhealthy_too() -> None:
    watched = Watched()
    watched.break_all(ConnectionFailed("Unable to establish SSH connection."))
    await watched.round()
    health = await watched.round()
    assert not health(Service.SSH).healthy
    assert not health(Service.SCHEDULER).healthy
    assert health(Service.SSH).message == "Unable to establish SSH connection."


async def test_a_busy_system_is_not_dead() -> None:
    watched = Watched()
    watched.break_all(Overloaded("Too many calls are waiting."))
    for _ in range(3):
        health = await watched.round()
    assert all(health(s).healthy for s in (Service.SSH, Service.SCHEDULER))
    assert not any(health(s).message for s in (Service.SSH, Service.SCHEDULER))


@pytest.mark.parametrize(
    "error",
    [
        Unauthenticated("The token endpoint refused the service account."),
        Forbidden("No SSH credentials found for user:probe"),
        ConnectionFailed("System daint: the login was refused."),
    ],
)
async def test_a_probe_that_cannot_log_in_is_unhealthy_and_says_why(error: ApiError) -> None:
    watched = Watched()
    watched.break_all(error)
    for _ in range(2):
        health = await watched.round()
    for service in (Service.SCHEDULER, Service.SSH):
        assert not health(service).healthy
        assert health(service).message == error.detail


async def test_each_change_is_logged_once_with_its_reason(caplog: Any) -> None:
    caplog.set_level("INFO")
    watched = Watched()
    watched.answers.broken["/home"] = BackendError("stale NFS handle")
    for _ in range(4):
        await watched.round()
    worse = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert worse == [("WARNING", "filesystem /home of system daint is unhealthy: stale NFS handle")]
    caplog.clear()
    watched.answers.broken.clear()
    for _ in range(2):
        await watched.round()
    better = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert better == [("INFO", "filesystem /home of system daint is healthy again")]


async def test_a_check_that_hangs_ends_at_its_timeout_and_alone() -> None:
    watched = Watched()
    watched.answers.hangs.add("/home")
    await watched.round()
    health = await watched.round()
    assert not health(Service.FILESYSTEM, "/home").healthy
    assert health(Service.FILESYSTEM, "/home").message == "The check did not end in time."
    assert health(Service.SCHEDULER).healthy


async def test_a_bug_in_a_check_is_not_shown(caplog: Any) -> None:
    watched = Watched()
    watched.answers.broken["scheduler"] = RuntimeError("token=abc")
    health = await watched.round()
    assert health(Service.SCHEDULER).message == "1 of 2 checks failed: Internal error."
    assert "health check failed unexpectedly" in caplog.text


async def test_rounds_go_on_until_cancelled() -> None:
    watched = Watched()
    task = asyncio.create_task(watched.checks.run())
    async with asyncio.timeout(10):
        while watched.directory.get("daint").last_check is None:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()

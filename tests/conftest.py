"""Shared by all tests: the fixtures of the real stack, and the summary at the end."""

import gc
from collections import defaultdict
from collections.abc import Generator
from typing import Any

import pytest
from pytest_asyncio import is_async_test

from tests import real

pytest_plugins = ("tests.parallel", "tests.cluster", "tests.mailbox", "tests.minio", "tests.stack")

SLOWEST = 10


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Find the tests without looking for garbage among them, nor later: thousands stay to the end.

    That takes a seventh of the CPU of `make test-fast` away.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that uses servers of the session runs in the loop of the session, as they do."""
    mark = pytest.mark.asyncio(loop_scope="session")
    for item in items:
        if is_async_test(item) and "worlds" in item.fixturenames:
            item.add_marker(mark, append=False)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """On a worker: report the real things that it exercised."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["real"] = real.noted()


def pytest_testnodedown(node: Any) -> None:
    """A worker has ended: add the real things that it exercised; one that crashed reports none."""
    if noted := getattr(node, "workeroutput", {}).get("real"):
        real.add(*noted)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print which real things this run exercised, and in a complete run which tests took longest."""
    terminalreporter.section("real things")
    for line in real.table():
        terminalreporter.write_line(line)
    if real.STRICT:
        terminalreporter.section(f"slowest {SLOWEST} tests, with what they set up")
        for test, seconds in _durations(terminalreporter)[:SLOWEST]:
            terminalreporter.write_line(f"{seconds:6.1f} s  {test}")


def _durations(terminalreporter: pytest.TerminalReporter) -> list[tuple[str, float]]:
    """Each test and its seconds from the beginning of its set-up to the end of its tear-down; longest first."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid] += report.duration
    return sorted(seconds.items(), key=lambda pair: -pair[1])

"""Shared by all tests: the fixtures of the real stack, and the table of real things at the end."""

import pytest

from tests import real

pytest_plugins = ("tests.cluster", "tests.mailbox", "tests.minio", "tests.stack")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print which real things this run exercised."""
    terminalreporter.section("real things")
    for line in real.table():
        terminalreporter.write_line(line)

"""The logs of `passerelle up`: kept, and bounded in size and number."""

import asyncio
import json
import logging
from logging.handlers import WatchedFileHandler
from pathlib import Path

import pytest

from passerelle.cli.up import logs as up_logs
from passerelle.cli.up.logs import LogFile, SiteLogs, rotate
from passerelle.gateway.config import Logs
from passerelle.runtime.config.site import ConfigError


def test_a_flood_is_bounded_and_no_line_is_cut(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "envoy.log", size=1000, keep=3)
    for number in range(500):
        log.write(f"line {number:03d}\nli".encode())
        log.write(f"ne {number:03d} again\n".encode())
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["envoy.log", *(f"envoy.log.{n}" for n in (1, 2, 3))]
    assert all(file.stat().st_size <= 1100 for file in files)
    assert all(file.read_text().endswith("\n") for file in files)
    assert all(file.read_text().startswith("line ") for file in files)
    assert log.last_lines(1) == ["line 499 again"]


def test_a_log_goes_on_where_the_last_run_ended(tmp_path: Path) -> None:
    for word in ("one", "two"):
        log = LogFile(tmp_path / "auth.log", size=1000, keep=3)
        log.write(f"{word}\n".encode())
        log.close()
    assert (tmp_path / "auth.log").read_text() == "one\ntwo\n"
    assert (tmp_path / "auth.log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        ("/var/log/here", {"LOGS_DIRECTORY": "/systemd"}, "/var/log/here"),
        (None, {"LOGS_DIRECTORY": "/systemd:/other", "XDG_STATE_HOME": "/state"}, "/systemd"),
        (None, {"XDG_STATE_HOME": "/state"}, "/state/passerelle/8000/logs"),
    ],
)
def test_where_they_go(given: str | None, environment: dict[str, str], expected: str) -> None:
    settings = Logs(directory=Path(given) if given else None)
    assert up_logs.directory(settings, 8000, environment) == Path(expected)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        ConfigError, match=r"gateway\.logs\.directory: .*/file/logs: Not a directory"
    ):
        SiteLogs(tmp_path / "file" / "logs", Logs())


def test_our_own_lines_are_json(tmp_path: Path) -> None:
    logs = SiteLogs(tmp_path, Logs())
    logs.note("compute ended", "WARNING")
    logs.close()
    line = json.loads((tmp_path / "up.log").read_text())
    messages = (line["service"], line["level"], line["message"])
    assert messages == ("up", "WARNING", "compute ended")


async def test_no_audit_line_is_lost_when_its_file_is_moved_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up_logs, "_AUDIT_SECONDS", 0.01)
    audit = tmp_path / "audit.log"
    logs = SiteLogs(tmp_path / "logs", Logs(max_size=1024, keep_audit=100))
    bounding = asyncio.create_task(logs.keep_bounded(audit))
    handler = WatchedFileHandler(audit)
    number = 0
    while not (tmp_path / "audit.log.2").exists():
        for _ in range(10):
            handler.emit(logging.makeLogRecord({"msg": str(number)}))
            number += 1
        await asyncio.sleep(0)
    bounding.cancel()
    handler.close()
    logs.close()
    lines = [line for file in tmp_path.glob("audit.log*") for line in file.read_text().split()]
    assert sorted(map(int, lines)) == list(range(number))


def test_only_so_many_old_files_are_kept(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / "a").write_text(str(number))
        rotate(tmp_path / "a", keep=2)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a.1": "4", "a.2": "3"}

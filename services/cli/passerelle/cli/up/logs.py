"""The logs of a site that `passerelle up` runs: a file for each process, and the audit log, all bounded.

The processes write to pipes, and `up` writes what it reads from them to their files. So it can rotate a file between
two lines, whatever program writes them. The audit log is written by the services themselves, which open it again when
it has been rotated.
"""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from passerelle.gateway.config import Logs
from passerelle.runtime.config.site import ConfigError

OWN = "up"
"""The name of the log of `passerelle up` itself."""

AUDIT = "audit.log"
"""The name of the audit log's file, unless the site names another."""

_AUDIT_SECONDS = 2.0  # between two checks of the size of the audit log


def directory(settings: Logs, port: int, environment: Mapping[str, str] = os.environ) -> Path:
    """Where logs go: where the site says, or else systemd (LOGS_DIRECTORY), or else the port's state directory."""
    if settings.directory is not None:
        return settings.directory
    if directories := environment.get("LOGS_DIRECTORY"):
        return Path(directories.split(":")[0])
    return state_directory(port, environment) / "logs"


def state_directory(port: int, environment: Mapping[str, str] = os.environ) -> Path:
    """Where a site on that port keeps what outlives its run (XDG base directories)."""
    base = environment.get("XDG_STATE_HOME", "")
    return (Path(base) if base else Path.home() / ".local" / "state") / "passerelle" / str(port)


class LogFile:
    """A file to append to. When it has more than `size` bytes it becomes NAME.1, and NAME.1 NAME.2, up to `keep`."""

    def __init__(self, path: Path, *, size: int, keep: int) -> None:
        self._path = path
        self._size = size
        self._keep = keep
        self._file = _opened(path)
        self._written = path.stat().st_size

    def write(self, data: bytes) -> None:
        """Append `data`. What does not fit on a full disk is lost: logging must not stop the process."""
        line_end = data.find(b"\n") + 1
        if self._written + len(data) > self._size and line_end:
            self._append(data[:line_end])
            self._rotate()
            data = data[line_end:]
        self._append(data)

    def last_lines(self, count: int) -> list[str]:
        """The newest lines, without the old files'."""
        return self._path.read_text(errors="replace").splitlines()[-count:]

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _append(self, data: bytes) -> None:
        try:
            self._written += os.write(self._file, data)
        except OSError:
            return

    def _rotate(self) -> None:
        os.close(self._file)
        rotate(self._path, self._keep)
        self._file = _opened(self._path)
        self._written = 0


class SiteLogs:
    """The logs of one run, in `directory`, which is made; ConfigError when that is not possible."""

    def __init__(self, directory: Path, settings: Logs) -> None:
        self.directory = directory
        self._settings = settings
        self._files: dict[str, LogFile] = {}
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._own = self.file(OWN)
        except OSError as error:
            raise ConfigError(
                f"gateway.logs.directory: {directory}: {error.strerror}; name a directory for the logs"
            ) from None

    def file(self, name: str) -> LogFile:
        """The log of the process `name`."""
        if name not in self._files:
            path = self.directory / f"{name}.log"
            settings = self._settings
            self._files[name] = LogFile(path, size=settings.max_size, keep=settings.keep)
        return self._files[name]

    def note(self, message: str, level: str) -> None:
        """Write a line of our own, in the form of the services'; `level` is that of `logging`, by name."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        line: dict[str, Any] = {"time": stamp, "level": level, "service": OWN, "message": message}
        self._own.write(json.dumps(line).encode() + b"\n")

    async def keep_bounded(self, audit_log: Path) -> None:
        """Rotate the audit log whenever it is full, until cancelled."""
        while True:
            await asyncio.sleep(_AUDIT_SECONDS)
            self._bound(audit_log)

    def _bound(self, audit_log: Path) -> None:
        if audit_log.exists() and audit_log.stat().st_size > self._settings.max_size:
            rotate(audit_log, self._settings.keep_audit)

    def close(self) -> None:
        """Close all files."""
        for file in self._files.values():
            file.close()


def rotate(path: Path, keep: int) -> None:
    """Make the file `path` the newest of at most `keep` old ones: `path`.1; the oldest goes."""
    for number in range(keep - 1, 0, -1):
        old = _old(path, number)
        if old.exists():
            old.replace(_old(path, number + 1))
    path.replace(_old(path, 1))


def _old(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

"""The jobs of one user on the system's own disk: a directory for each, with its script and one record.

A record tells all about a job but its environment, which may hold secrets and stands nowhere but in the processes' own
memory. It is replaced as a whole, by the job's runner alone; while the job runs, the runner touches it now and then, so
that its time of change is when the job was last known to be alive. Runs on the system; see `local_program`.
"""

import json
import os
import re
import time

from passerelle.compute.schedulers.local.remote.exchange import Refused, raw
from passerelle.compute.schedulers.local.remote.process import boot_id, start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Record = dict[str, Any]

HEARTBEAT = 30  # seconds between two touches of a running job's record
_SILENCE = (
    4 * HEARTBEAT
)  # after so long a runner on a machine that we cannot look into counts as gone
_RECORD, _SCRIPT = b"record.json", b"script"
_ID = re.compile("[1-9][0-9]{0,17}")


class Store:
    """The directory of all jobs; `~` and `$NAME` in its name are the user's own."""

    def __init__(self, directory: str) -> None:
        self.root = os.path.expandvars(os.path.expanduser(raw(directory)))

    def create(self) -> None:
        """Make the directory, for its owner alone; Refused when it exists and others may write to it."""
        os.makedirs(self.root, mode=0o700, exist_ok=True)
        st = os.stat(self.root)
        if st.st_uid != os.getuid() or st.st_mode & 0o022:
            raise Refused("backend", "The directory for job records is not the user's alone.")

    def allocate(self) -> str:
        """A new job id, with its directory. The highest one stays for ever, so that no id comes twice."""
        number = max(self._numbers(), default=0) + 1
        while True:
            try:
                os.mkdir(self._path(str(number)), 0o700)
            except FileExistsError:  # another submission took this id
                number += 1
            else:
                return str(number)

    def write_script(self, job_id: str, script: bytes) -> bytes:
        """Keep the job's script, executable; returns its path."""
        path = self._path(job_id, _SCRIPT)
        _write(path, script, 0o700)
        return path

    def script(self, job_id: str) -> bytes:
        """The job's script."""
        with open(self._path(job_id, _SCRIPT), "rb") as file:
            return file.read()

    def write(self, record: "Record") -> None:
        """Replace the job's record; when this returns, it is on the disk."""
        path = self._path(record["id"], _RECORD)
        _write(path + b".new", raw(json.dumps(record)), 0o600)
        os.rename(path + b".new", path)
        directory = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def touch(self, job_id: str) -> None:
        """Record that the job is alive now."""
        os.utime(self._path(job_id, _RECORD))

    def read(self, job_id: str) -> "Record":
        """The job's record, as the job stands now; Refused (`not_found`) when there is none."""
        if not _ID.fullmatch(job_id):
            raise Refused("not_found", "Job not found.")
        try:
            with open(self._path(job_id, _RECORD), "rb") as file:
                touched = os.fstat(file.fileno()).st_mtime
                record = json.loads(file.read().decode())  # type: Record
        except (FileNotFoundError, ValueError):
            raise Refused("not_found", "Job not found.") from None
        return record if record["end"] or _alive(record, touched) else _vanished(record, touched)

    def recent(self, since: float) -> "list[Record]":
        """All jobs that were alive at `since` (seconds since the epoch) or later, oldest id first.

        The records of older ones are not even opened.
        """
        records = []
        for number in sorted(self._numbers()):
            try:
                if os.stat(self._path(str(number), _RECORD)).st_mtime >= since:
                    records.append(self.read(str(number)))
            except (FileNotFoundError, Refused):  # being made, or being removed
                continue
        return records

    def prune(self, before: float) -> None:
        """Remove jobs that ended before that time (seconds since the epoch), but never the highest id."""
        for number in sorted(self._numbers())[:-1]:
            job_id = str(number)
            if self._changed(job_id) < before and not self._running(job_id):
                self.remove(job_id)

    def remove(self, job_id: str) -> None:
        """Remove all that is kept of the job, the record first."""
        directory = self._path(job_id)
        for name in sorted(os.listdir(directory), key=lambda name: name != _RECORD):
            os.unlink(os.path.join(directory, name))
        os.rmdir(directory)

    def _path(self, job_id: str, *names: bytes) -> bytes:
        return os.path.join(self.root, job_id.encode("ascii"), *names)

    def _numbers(self) -> "list[int]":
        try:
            names = os.listdir(self.root)
        except FileNotFoundError:
            return []
        return [int(name) for name in names if _ID.fullmatch(name.decode("ascii", "replace"))]

    def _changed(self, job_id: str) -> float:
        try:
            return os.stat(self._path(job_id, _RECORD)).st_mtime
        except FileNotFoundError:  # a submit that was refused or killed half-way
            return os.stat(self._path(job_id)).st_mtime

    def _running(self, job_id: str) -> bool:
        try:
            return not self.read(job_id)["end"]
        except Refused:
            return False


def here(record: "Record") -> bool:
    """Whether the job belongs to this machine, so that its processes can be looked at."""
    return bool(record["host"] == os.uname().nodename)


def same_process(record: "Record", role: str) -> bool:
    """Whether the job's process in that role (`runner` or `leader`) is still there, and no other under its number."""
    pid, started = record[role]
    return bool(record["boot"] == boot_id() and start_time(pid) == started)


def _alive(record: "Record", touched: float) -> bool:
    if here(record):
        return same_process(record, "runner")
    return time.time() - touched < _SILENCE


def _vanished(record: "Record", touched: float) -> "Record":
    """The job of a runner that was killed or whose machine went down: ended, with an unknown outcome."""
    return dict(record, word="FAILED", reason="NodeFail", end=max(int(touched), record["start"]))


def _write(path: bytes, data: bytes, mode: int) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with open(file, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(file)

"""The comparable parts of a reply: all that must not differ from run to run.

`comparable(body, view)` replaces ids, clocks, inodes, machine names and load figures by placeholders,
numbers of users by their names, and the recorded jobs' ids by those of the jobs submitted now. Two
bodies agree if their comparable forms are equal.
"""

import grp
import hashlib
import json
import pwd
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.compat.tree import RECORDED

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TRANSFER_SPEED = re.compile(r"copied, [-0-9.e]+ s, .*")
_JOB_IN_TEXT = re.compile(r"(?<=\bjob )\d+|(?<=\bjob id )\d+|(?<=slurm-)\d+|(?<=run-)\d+")
_JOB_ID = re.compile(r"^\d+")
_JOB_OUTPUT = re.compile(r"(slurm|run)-[\d_]+\.out$|full\.(out|err)$")
_NODE = re.compile(r"^cn0[12]$")
_CANCELLED_BY = re.compile(r"(?<=^CANCELLED by )\d+$")

Json = Any
Rule = Callable[["View", Json, Mapping[str, Json]], Json]


@dataclass(frozen=True)
class View:
    """How one side of a comparison names users, groups and jobs."""

    users: Mapping[int, str] = field(
        default_factory=lambda: {entry.pw_uid: entry.pw_name for entry in pwd.getpwall()}
    )
    groups: Mapping[int, str] = field(
        default_factory=lambda: {entry.gr_gid: entry.gr_name for entry in grp.getgrall()}
    )
    jobs: Mapping[str, str] = field(default_factory=dict)
    """Id as seen here -> id to compare; ids that are not in it stand for themselves."""
    known_jobs: frozenset[str] | None = None
    """Ids, as seen here, of the jobs that lists are compared on; None for all."""
    fixture_time: int = int(RECORDED.timestamp())
    """The epoch second of the fixture files' last change."""

    def job(self, text: str) -> str:
        """`text` with the job id that it starts with replaced."""
        return _JOB_ID.sub(lambda match: self.jobs.get(match[0], match[0]), text)

    def knows(self, job_id: str) -> bool:
        """Is this job (or its array) one that lists are compared on?"""
        return self.known_jobs is None or job_id.split("_")[0] in self.known_jobs

    def job_text(self, text: str) -> str:
        """`text` with the job ids inside replaced."""
        return _JOB_IN_TEXT.sub(lambda match: self.jobs.get(match[0], match[0]), text)


def recorded_view(jobs: Mapping[str, str]) -> View:
    """The view of the recording, whose job ids stand for the live ones in `jobs`."""
    return View(
        users={1001: "alice", 1002: "bob"},
        groups={1001: "research", 1002: "alice", 1003: "bob"},
        jobs=jobs,
        known_jobs=frozenset(jobs),
        fixture_time=1767323045,  # the recording machine's clock was UTC
    )


def comparable(body: Json, view: View) -> Json:
    """The part of `body` that must be the same in every run; replies above 8 KB as recorded digests are."""
    if isinstance(body, bytes):
        return _digest(body) if len(body) > 8192 else _text(view, body.decode(errors="replace"))
    return _walk(None, body, {}, view)


def digest_of(body: Json) -> dict[str, Json]:
    """The digest under which a large JSON reply is recorded."""
    return _digest(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())


def _digest(content: bytes) -> dict[str, Json]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "length": len(content)}


def _walk(key: str | None, value: Json, owner: Mapping[str, Json], view: View) -> Json:
    if value is not None and key in _RULES:
        value = _RULES[key](view, value, owner)
    if isinstance(value, dict):
        return {name: _walk(name, item, value, view) for name, item in value.items()}
    if isinstance(value, list):
        return [_walk(None, item, owner, view) for item in value]
    return _text(view, value) if isinstance(value, str) else value


def _text(view: View, value: str) -> str:
    value = _UUID.sub("<uuid>", _TRANSFER_SPEED.sub("copied", value))
    return view.job_text(value)


def _kind(view: View, value: Json, owner: Mapping[str, Json]) -> str:
    return f"<{type(value).__name__}>"


def _number(view: View, value: Json, owner: Mapping[str, Json]) -> Json:
    return "<number>" if isinstance(value, int | float) else value


def _message(view: View, value: Json, owner: Mapping[str, Json]) -> Json:
    if owner.get("errorType") == "validation":
        return "<validation>"
    return _tar_words(value) if "\ntar: " in value else value


def _reason(view: View, value: Json, owner: Mapping[str, Json]) -> Json:
    """A job cancelled while it waited has the reason that accounting last heard, which may be none yet."""
    return "<reason>" if str(owner.get("state")).startswith("CANCELLED") else value


def _tar_words(value: str) -> Json:
    """The different lines of tar's complaints: their order is that of the directory, and one is a race."""
    return sorted({line for line in value.splitlines() if "Broken pipe" not in line})


def _date(view: View, value: Json, owner: Mapping[str, Json]) -> Json:
    if value == RECORDED.isoformat():
        return value
    return f"<{type(datetime.fromisoformat(value)).__name__}>"


def _modified(view: View, value: Json, owner: Mapping[str, Json]) -> Json:
    return "<fixture>" if value == view.fixture_time else _kind(view, value, owner)


def _of_directory(view: View, value: Json, owner: Mapping[str, Json]) -> Json:
    """Sizes and link counts of directories depend on the filesystem."""
    directory = stat.S_ISDIR(owner["mode"]) if "mode" in owner else owner.get("type") == "d"
    return _kind(view, value, owner) if directory else value


def _state(view: View, value: Json, owner: Mapping[str, Json]) -> Json:
    if isinstance(value, list):  # of a node: whatever else runs there
        return "<list>"
    return _CANCELLED_BY.sub(lambda match: view.users[int(match[0])], value)


def _user(view: View, value: Json, owner: Mapping[str, Json]) -> Json:
    return value if isinstance(value, str) else _named(view.users, value)


def _group(view: View, value: Json, owner: Mapping[str, Json]) -> Json:
    return value if isinstance(value, str) else _named(view.groups, value)


def _named(names: Mapping[int, str], value: Json) -> Json:
    """A user or group with its number replaced by the name that the number has there."""
    return value | {"id": names.get(int(value["id"]), value["id"])}


def _jobs(view: View, value: Json, owner: Mapping[str, Json]) -> Json:
    """Sorted by id; without jobs that the recording knows nothing of."""
    visible = [job for job in value if view.knows(job["jobId"])]
    return sorted(visible, key=lambda job: view.job(job["jobId"]))


def _files(view: View, value: Json, owner: Mapping[str, Json]) -> Json:
    if not isinstance(value, list):
        return value
    return [entry for entry in value if not _JOB_OUTPUT.search(entry["name"])]


def _partitions(view: View, value: Json, owner: Mapping[str, Json]) -> Json:
    """The names of a node's partitions come in no order; the list of partitions does."""
    return sorted(value) if "hostname" in owner else value


def _services(view: View, value: Json, owner: Mapping[str, Json]) -> Json:
    """Sorted; messages of checks are left out, since they depend on the machine's load."""
    entries = [entry | {"message": "<health>"} for entry in value]
    return sorted(entries, key=lambda entry: (entry["serviceType"], entry.get("path", "")))


_PER_RUN = (
    "ino dev atime ctime cpuLoad freeMemory priority latency lastUpdate endTime startTime hostname"
    " address port coordinates allocCpus idleCpus lastChecked lastHealthCheck healthcheckRuns"
)
_RULES: dict[str, Rule] = {
    **dict.fromkeys(_PER_RUN.split(), _kind),
    **dict.fromkeys(("start", "end", "elapsed"), _number),
    "message": _message,
    "lastModified": _date,
    "mtime": _modified,
    "size": _of_directory,
    "nlink": _of_directory,
    "state": _state,
    "stateReason": _reason,
    "nodes": lambda view, value, owner: (
        _NODE.sub("<node>", value) if isinstance(value, str) else value
    ),
    "uid": lambda view, value, owner: view.users.get(value, value),
    "gid": lambda view, value, owner: view.groups.get(value, value),
    "id": lambda view, value, owner: view.job(value) if "status" in owner else value,
    "user": _user,
    "group": _group,
    "groups": lambda view, value, owner: [_named(view.groups, group) for group in value],
    "jobs": _jobs,
    "jobId": lambda view, value, owner: view.job(value),
    "output": _files,
    "partitions": _partitions,
    "servicesHealth": _services,
}

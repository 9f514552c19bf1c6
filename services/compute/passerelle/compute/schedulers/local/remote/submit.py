"""Submitting a job: what it asks for is checked, its streams are opened, and a runner is started.

Runs on the system; see `exchange`.
"""

import os
import re
import stat
from contextlib import suppress

from passerelle.compute.schedulers.local.remote.accounts import group_name, user_name
from passerelle.compute.schedulers.local.remote.exchange import Refused, answer, raw, text_of
from passerelle.compute.schedulers.local.remote.runner import Runner
from passerelle.compute.schedulers.local.remote.script import MAX_SCRIPT, check, directives, seconds
from passerelle.compute.schedulers.local.remote.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from passerelle.compute.schedulers.local.remote.store import Record

_READ = os.O_RDONLY
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def submit(request: "Mapping[str, Any]") -> str:
    """Start `request["job"]` (the fields of `JobDescription`; None where not given) and return its id."""
    job, settings = request["job"], request["settings"]
    field = "script" if job["script"] is not None else "script_path"
    script = raw(job["script"]) if field == "script" else _read_script(job["script_path"])
    check(script, field)
    directive_values = directives(script, field)
    limit = _limit(job["time_limit"], directive_values.pop("time_limit", None), settings, field)
    description = dict(directive_values, **{name: value for name, value in job.items() if value})
    description["working_directory"] = _enter(description["working_directory"])
    store = Store(settings["directory"])
    store.create()
    record = _record(store.allocate(), description, limit)
    streams = []  # type: list[int]
    try:
        _open_streams(record, streams)
        path = store.write_script(record["id"], script)
        Runner(store, record, settings).start(path, _environment(record, job), streams)
    except (Refused, OSError):
        with suppress(OSError):
            store.remove(record["id"])
        raise
    return str(record["id"])


def _read_script(path: str) -> bytes:
    file = _open(path, _READ, "script_path")
    with open(file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise Refused("invalid", f"Not a regular file: {path}", "script_path")
        return stream.read(MAX_SCRIPT + 1)


def _limit(
    requested: "int | None", directive: "str | None", settings: "Mapping[str, Any]", field: str
) -> "int | None":
    if requested:
        return requested
    if directive is not None:
        return seconds(directive, field)
    return settings["default_time_limit"]  # type: ignore[no-any-return]  # checked as an option


def _enter(directory: str) -> str:
    """Change to the directory; returns its absolute path."""
    home = text_of(os.getcwdb())
    try:
        os.chdir(raw(directory))
    except OSError as error:
        message = f"The working directory cannot be used: {directory}: {error.strerror}"
        raise Refused("invalid", message, "working_directory") from None
    return os.path.join(home, directory)


def _record(job_id: str, description: "Mapping[str, Any]", limit: "int | None") -> "Record":
    user, host = user_name(os.getuid()), os.uname().nodename
    name = description.get("name") or os.path.basename(description.get("script_path") or "job")
    values = {"j": job_id, "x": name, "u": user, "N": host, "%": "%"}

    def path(field: str, default: str) -> str:
        """The absolute path of a stream; `%j` and the like are replaced as sbatch does."""
        pattern = description.get(field) or default
        name = re.sub("%(.)", lambda match: values.get(match.group(1), match.group()), pattern)
        return os.path.join(description["working_directory"], name)

    output = path("standard_output", "job-%j.out")
    return {
        "id": job_id,
        "name": name,
        "user": user,
        "group": group_name(os.getgid()),
        "host": host,
        "directory": description["working_directory"],
        "standard_input": path("standard_input", os.devnull),
        "standard_output": output,
        "standard_error": path("standard_error", output.replace("%", "%%")),
        "limit": limit,
        "word": "RUNNING",
        "reason": "None",
        "exit": 0,
        "signal": 0,
        "end": None,
    }


def _open_streams(record: "Record", streams: "list[int]") -> None:
    streams.append(_open(record["standard_input"], _READ, "standard_input"))
    streams.append(_open(record["standard_output"], _WRITE, "standard_output"))
    shared = record["standard_error"] == record["standard_output"]
    streams.append(
        streams[1] if shared else _open(record["standard_error"], _WRITE, "standard_error")
    )


def _open(path: str, flags: int, field: str) -> int:
    """A descriptor; does not wait for the other end of a pipe."""
    try:
        file = os.open(raw(path), flags | os.O_NONBLOCK | os.O_NOCTTY, 0o666)
    except OSError as error:
        raise Refused("invalid", f"{error.strerror}: {path}", field) from None
    os.set_blocking(file, True)
    return file


def _environment(record: "Record", job: "Mapping[str, Any]") -> "dict[bytes, bytes]":
    """The environment of the login, the job's id, and the requested variables."""
    environment = dict(os.environb)
    environment.pop(b"LC_ALL", None)  # set for this program only
    # Scripts use SLURM_JOB_ID. With more of Slurm's variables, MPI libraries would look for a Slurm.
    for name in (b"PASSERELLE_JOB_ID", b"SLURM_JOB_ID"):
        environment[name] = raw(record["id"])
    environment.update((raw(name), raw(value)) for name, value in job["environment"].items())
    return environment


if __name__ == "__main__":
    answer({"submit": submit})

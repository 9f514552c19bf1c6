"""All that can be asked about jobs, the machine and the user, and what can be done to a job that runs.

Runs on the system; see `exchange`.
"""

import os
import sys
import time
from contextlib import suppress

from passerelle.compute.schedulers.local.remote.accounts import group_name, user_name
from passerelle.compute.schedulers.local.remote.exchange import Refused, answer, raw, text_of
from passerelle.compute.schedulers.local.remote.process import (
    CANCEL,
    end_session,
    environment,
    restore_signals,
)
from passerelle.compute.schedulers.local.remote.store import HEARTBEAT, Store, here, same_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from passerelle.compute.schedulers.local.remote.store import Record

    Request = Mapping[str, Any]

_CANCEL_SECONDS = 1.0  # how long a cancel waits to see the job's end; most jobs go at once
_PAUSE = 0.01
_SHELL = "/bin/sh"


def jobs(request: "Request") -> "list[Record]":
    """The user's own jobs that `user`, `name` (None: any) and `window` (s) let through, oldest id first."""
    if request["user"] not in (None, user_name(os.getuid())):
        return []
    since = time.time() - request["window"]
    return [
        _shown(record)
        for record in _store(request).recent(since - 2 * HEARTBEAT)
        if (record["end"] is None or record["end"] >= since)
        and request["name"] in (None, record["name"])
    ]


def job(request: "Request") -> "Record":
    """The record of the job `id`."""
    return _shown(_store(request).read(request["id"]))


def metadata(request: "Request") -> "Record":
    """The record of the job `id`, with its `script`."""
    store = _store(request)
    return dict(store.read(request["id"]), script=text_of(store.script(request["id"])))


def cancel(request: "Request") -> None:
    """End the job `id`, unless it has ended. It gets TERM, and KILL after the plugin's `kill_wait`."""
    store = _store(request)
    record = store.read(request["id"])
    if record["end"] is None:
        _be_here(record)
        _signal_runner(record)
    until = time.monotonic() + _CANCEL_SECONDS
    while record["end"] is None and time.monotonic() < until:
        time.sleep(_PAUSE)
        record = store.read(request["id"])
    if record["end"] and here(record) and same_process(record, "leader"):
        end_session(record["leader"][0], _CANCEL_SECONDS, dict)  # its runner was killed


def attach(request: "Request") -> int:
    """Run the line `command` by the shell in the running job's directory and environment.

    Returns its exit status, or the negative number of the signal that ended it. What it prints is dropped.
    """
    record = _store(request).read(request["id"])
    if record["end"]:
        raise Refused("precondition", f"Job {record['id']} is not running.")
    _be_here(record)
    variables = environment(record["leader"][0])
    child = os.fork()
    if child == 0:
        try:
            _become(request["command"], record["directory"], variables)
        finally:
            os._exit(126)
    _, status = os.waitpid(child, 0)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def machine(request: "Request") -> "dict[str, Any]":
    """The machine: its name, processors, load, memory (MiB), and how many of the user's jobs run on it."""
    lately = _store(request).recent(time.time() - 4 * HEARTBEAT)
    memory = _colon_table("/proc/meminfo")
    topology = _colon_table("/proc/cpuinfo")
    cores, siblings = topology.get("cpu cores"), topology.get("siblings")
    return {
        "name": os.uname().nodename,
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "memory": int(memory["MemTotal"].split()[0]) // 1024,
        "free": int(memory["MemFree"].split()[0]) // 1024,
        "sockets": int(topology["physical id"]) + 1 if "physical id" in topology else None,
        "cores": int(cores) if cores else None,
        "threads": int(siblings) // int(cores) if cores and siblings else None,
        "running": sum(record["end"] is None and here(record) for record in lately),
    }


def user(request: "Request") -> "dict[str, Any]":
    """The user and its groups, the primary one first, as pairs of number and name."""
    primary = os.getgid()
    groups = [primary, *(group for group in os.getgroups() if group != primary)]
    return {
        "user": (os.getuid(), user_name(os.getuid())),
        "groups": [(group, group_name(group)) for group in groups],
    }


def ping(request: "Request") -> str:
    """One line that shows that programs run here."""
    return f"local scheduler on {os.uname().nodename}, Python {sys.version.split()[0]}"


def _store(request: "Request") -> Store:
    return Store(request["settings"]["directory"])


def _shown(record: "Record") -> "Record":
    """The record with the system's own idea of how long the job has run: clocks differ."""
    return dict(record, elapsed=(record["end"] or int(time.time())) - record["start"])


def _be_here(record: "Record") -> None:
    if not here(record):
        message = f"Job {record['id']} runs on another machine, {record['host']}."
        raise Refused("precondition", message)


def _signal_runner(record: "Record") -> None:
    with suppress(ProcessLookupError):  # it may just have ended
        os.kill(record["runner"][0], CANCEL)


def _become(command: str, directory: str, variables: "dict[bytes, bytes]") -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.chdir(raw(directory))
    restore_signals()
    os.execve(_SHELL, [b"sh", b"-c", raw(command)], variables)  # noqa: S606  # the shell is named


def _colon_table(path: str) -> "dict[str, str]":
    """The `name: value` lines of a file; the last of several wins."""
    with open(path, encoding="utf-8", errors="replace") as file:
        pairs = (line.partition(":") for line in file)
        return {name.strip(): value.strip() for name, _, value in pairs}


if __name__ == "__main__":
    operations = (jobs, job, metadata, cancel, attach, machine, user, ping)
    answer({operation.__name__: operation for operation in operations})

"""Processes, as /proc tells of them (proc(5)): which one a number means, and all those of one session.

Runs on the system; see `local_program` about the dialect.
"""

import os
import signal
import time
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CANCEL = signal.SIGUSR1
"""Tells a runner to cancel its job."""

_SESSION, _STARTTIME = 3, 19  # fields after the name: state, ppid, pgrp, session, …, starttime
_GONE = ("Z", "X")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.5  # seconds between two looks at a session that is to end
_KILL_SECONDS = 10  # a process in an uninterruptible wait outlives even KILL


def boot_id() -> str:
    """The id of this boot of the machine."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def start_time(pid: int) -> "str | None":
    """When the process started, in the kernel's ticks: with its number and the boot it means one process for ever.

    None when there is no such process, or only its exit status is left.
    """
    fields = _stat(pid)
    return None if fields is None or fields[0] in _GONE else fields[_STARTTIME]


def environment(pid: int) -> "dict[bytes, bytes]":
    """The environment that the process started with."""
    with open(f"/proc/{pid}/environ", "rb") as file:
        pairs = (item.partition(b"=") for item in file.read().split(b"\0") if item)
        return {name: value for name, _, value in pairs}


def session(leader: int) -> "list[int]":
    """The living processes of the session that `leader` leads, or is about to lead."""
    pids = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        fields = _stat(pid)
        if fields is None or fields[0] in _GONE:
            continue
        if pid == leader or int(fields[_SESSION]) == leader:
            pids.append(pid)
    return pids


def end_session(leader: int, grace: float, meanwhile: "Callable[[], object]") -> None:
    """End every process of a session: TERM, and KILL after `grace` seconds.

    By session, not by process group: `timeout` and shells with job control give their children groups of their own.
    `meanwhile` is called now and then.
    """
    _signal_all(session(leader), signal.SIGTERM)
    _signal_all(session(leader), signal.SIGCONT)  # a stopped process sees TERM only when it goes on
    if not _ended(leader, grace, meanwhile):
        _ended(leader, _KILL_SECONDS, lambda: _signal_all(session(leader), signal.SIGKILL))


def restore_signals() -> None:
    """Undo what Python does to signals, for the program that is executed next."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)


def _ended(leader: int, seconds: float, meanwhile: "Callable[[], object]") -> bool:
    until = time.monotonic() + seconds
    pause = _FIRST_PAUSE
    while session(leader):
        if time.monotonic() >= until:
            return False
        meanwhile()
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    return True


def _signal_all(pids: "list[int]", number: int) -> None:
    for pid in pids:
        with suppress(
            ProcessLookupError, PermissionError
        ):  # it has ended, or is a setuid program's
            os.kill(pid, number)


def _stat(pid: int) -> "list[str] | None":
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name is in parentheses and may hold any character, parentheses too.
    return line[line.rindex(b")") + 2 :].decode("ascii").split()

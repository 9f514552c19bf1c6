"""The runner: a detached process for each job, which starts it, sees it to its end and records how it went.

    submit ── fork, setsid, fork ── runner (a session of its own, nothing of the SSH channel left)
                                      └── leader (another session): the script, and all that it starts

The leader waits until the runner has recorded the job, and the submit waits until the leader has become the script
(the end of the pipe that both hold tells): no job runs unrecorded, and an id that was given out is known. Runs on the
system; see `local_program`.
"""

import errno
import os
import signal
import time
from contextlib import suppress

from passerelle.compute.schedulers.local.remote.exchange import Refused, raw, text_of
from passerelle.compute.schedulers.local.remote.process import (
    CANCEL,
    boot_id,
    end_session,
    restore_signals,
    start_time,
)
from passerelle.compute.schedulers.local.remote.store import HEARTBEAT, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, NoReturn

    from passerelle.compute.schedulers.local.remote.store import Record

# What ends a job early, and the word and reason it is recorded with. TERM comes when the machine goes down.
_ENDINGS = {CANCEL: ("CANCELLED", "None"), signal.SIGTERM: ("FAILED", "NodeFail")}
_WAKING = {signal.SIGCHLD, *_ENDINGS}
_STARTED = b"started"
_RECORD_ATTEMPTS, _RECORD_PAUSE = (
    120,
    30.0,
)  # a job may fill its user's quota: wait an hour for room


class Runner:
    """Runs one job. `settings` are the plugin's options: `kill_wait` (s) and `keep_days` are used here."""

    def __init__(self, store: Store, record: "Record", settings: "Mapping[str, Any]") -> None:
        self._store = store
        self._record = record
        self._settings = settings

    def start(
        self, script: bytes, environment: "Mapping[bytes, bytes]", streams: "Sequence[int]"
    ) -> None:
        """Start the script in the current directory; returns when the job runs and is recorded.

        `streams` are open descriptors for its standard input, output and error. Refused when it cannot be started.
        """
        status = _detached(
            lambda report: self._run(report, lambda: _execute(script, environment, streams))
        )
        if status != _STARTED:
            raise Refused("backend", text_of(status) or "The job could not be started.")

    def _run(self, report: int, execute: "Callable[[], NoReturn]") -> None:
        try:
            leader = self._fork_leader(execute)
        except OSError as error:
            os.write(report, raw(os.strerror(error.errno or 0)))
            raise
        os.write(report, _STARTED)
        os.close(report)
        with suppress(OSError):  # another runner may prune at the same time
            self._store.prune(time.time() - self._settings["keep_days"] * 24 * 3600)
        self._supervise(leader)

    def _fork_leader(self, execute: "Callable[[], NoReturn]") -> int:
        """Start the leader, and let it go on when the job is recorded."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _WAKING)
        gate, go = os.pipe()
        leader = os.fork()
        if leader == 0:
            os.close(go)
            _finally_exit(lambda: _lead(gate, mask, execute))
        os.close(gate)
        os.chdir("/")  # keep no filesystem busy
        runner = os.getpid()
        processes = {"runner": (runner, start_time(runner)), "leader": (leader, start_time(leader))}
        self._record.update(processes, boot=boot_id(), start=int(time.time()))
        self._store.write(self._record)
        os.write(go, b"\n")
        os.close(go)
        return leader

    def _supervise(self, leader: int) -> None:
        ending = self._ending(leader)
        end_session(leader, self._settings["kill_wait"], self._touch)
        # Reaped only now: as long as the leader is a zombie, no other session can have its number.
        _, status = os.waitpid(leader, 0)
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0
        word, reason = ending or ("FAILED" if status else "COMPLETED", "None")
        self._record.update(word=word, reason=reason, exit=code, signal=number)
        self._record["end"] = int(time.time())
        self._write_record()

    def _ending(self, leader: int) -> "tuple[str, str] | None":
        """Wait until the job ends by itself (None), or has to be ended: then its word and reason."""
        limit = self._record["limit"]
        deadline = time.monotonic() + limit if limit else float("inf")
        while not os.waitid(os.P_PID, leader, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            left = deadline - time.monotonic()
            if left <= 0:
                return "TIMEOUT", "None"
            woken = signal.sigtimedwait(_WAKING, min(left, HEARTBEAT))
            self._touch()
            if woken and woken.si_signo in _ENDINGS:
                return _ENDINGS[signal.Signals(woken.si_signo)]
        return None

    def _touch(self) -> None:
        with suppress(OSError):  # when the user removed it, the job is still to be seen to its end
            self._store.touch(self._record["id"])

    def _write_record(self) -> None:
        for _ in range(_RECORD_ATTEMPTS):
            try:
                self._store.write(self._record)
                return
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    return
                time.sleep(_RECORD_PAUSE)


def _detached(work: "Callable[[int], None]") -> bytes:
    """Run `work(report)` in a process that outlives this one.

    Returns what was written to the descriptor `report`, once all who have it closed it (a program that is executed
    does).
    """
    read_end, report = os.pipe()
    child = os.fork()
    if child == 0:
        _finally_exit(lambda: _orphan(work, report))
    os.close(report)
    os.waitpid(child, 0)
    with open(read_end, "rb") as pipe:
        return pipe.read()


def _orphan(work: "Callable[[int], None]", report: int) -> None:
    os.setsid()
    if os.fork() == 0:
        _silence()
        work(report)


def _silence() -> None:
    """Close the descriptors of the SSH channel, which closes only when no process has them open."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


def _finally_exit(work: "Callable[[], None]") -> "NoReturn":
    """Do the work and end this process, whatever happens: it is a copy of another and must not go on as that one."""
    try:
        work()
    finally:
        os._exit(1)


def _lead(gate: int, mask: "set[Any]", execute: "Callable[[], NoReturn]") -> None:
    """The leader's process: become session leader, wait for the record (or the runner's end), execute the script."""
    os.setsid()
    if os.read(gate, 1):
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        restore_signals()
        execute()


def _execute(
    script: bytes, environment: "Mapping[bytes, bytes]", streams: "Sequence[int]"
) -> "NoReturn":
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
    try:
        os.execve(script, [script], environment)  # noqa: S606  # the kernel reads its first line
    except OSError as error:
        os.write(2, raw(f"passerelle: the batch script cannot be run: {error.strerror}\n"))
        os._exit(127 if error.errno == errno.ENOENT else 126)

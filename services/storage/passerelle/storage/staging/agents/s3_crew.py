"""Parts of a file, moved by several threads at once, in a job that can be stopped at any time.

Runs on the system, on Python 3.6 and newer.
"""

import errno
import signal
import threading

from passerelle.storage.remote.outcome import Failure
from passerelle.storage.staging.agents.job import fail, say
from passerelle.storage.staging.agents.s3_http import Store, Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

_LAST_SECONDS = 5  # that threads have to notice that they are stopped


class Stopped(BaseException):
    """The scheduler wants the job to end: cancelled, or out of time."""


def in_parallel(store: Store, workers: int, count: int, work: "Callable[[int], T]") -> "list[T]":
    """What `work` returns for each number below `count`, by at most `workers` threads; raises the first failure."""
    return _Crew(store, count, work).run(min(workers, count))


class _Crew:
    def __init__(self, store: Store, count: int, work: "Callable[[int], Any]") -> None:
        self._stopping = store.stopping
        self._work = work
        self._numbers = iter(range(count))
        self._taking = threading.Lock()
        self._ended = threading.Semaphore(0)
        self._results: list[Any] = [None] * count
        self._failures: list[BaseException] = []

    def run(self, workers: int) -> "list[Any]":
        threads = [threading.Thread(target=self._labour, daemon=True) for _ in range(workers)]
        for thread in threads:
            thread.start()
        try:
            for _ in threads:
                self._ended.acquire()  # a signal interrupts it
        except BaseException:
            self._stopping.set()
            for thread in threads:
                thread.join(_LAST_SECONDS / workers)
            raise
        if self._failures:
            raise self._failures[0]
        return self._results

    def _labour(self) -> None:
        try:
            while not self._stopping.is_set():
                with self._taking:
                    number = next(self._numbers, None)
                if number is None:
                    break
                self._results[number] = self._work(number)
        except BaseException as error:
            self._failures.append(error)
            self._stopping.set()
        finally:
            self._ended.release()


def live(path: str, store: Store, work: "Callable[[], None]", undo: "Callable[[], None]") -> None:
    """Do `work`, and `undo` it when it fails or the scheduler ends the job; then end the job saying why.

    Its `path` is what failures of the file system are told of. Says nothing about what is not foreseen but its kind:
    the words of foreign exceptions may name a URL.
    """
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop)
        work()
    except BaseException as error:
        stop_listening()
        fault = store.fault
        undo()
        fail("Transfer failed: " + _why(path, error, fault))


def stop_listening() -> None:
    """From here on the job comes to its end, whatever the scheduler wants."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def tidied(done: bool, what: str) -> None:
    """Tell that something could not be removed."""
    if not done:
        say("The object store did not remove %s; its lifecycle will." % what)  # noqa: UP031


def _stop(_number: int, _frame: "Any") -> None:
    stop_listening()
    raise Stopped


def _why(path: str, error: BaseException, fault: str) -> str:
    if isinstance(error, Stopped):
        last = "; before that, %s" % fault if fault else ""  # noqa: UP031
        return "the job was cancelled, or its time was up" + last
    if isinstance(error, Trouble):
        return str(error)
    if isinstance(error, Failure):
        if error.code == errno.EXDEV:
            return "%s leads out of the filesystems of this system" % path  # noqa: UP031
        return "%s: %s" % (path, error.words)  # noqa: UP031
    if isinstance(error, OSError):
        return "%s: %s" % (path, error.strerror)  # noqa: UP031
    return "unforeseen %s" % type(error).__name__  # noqa: UP031

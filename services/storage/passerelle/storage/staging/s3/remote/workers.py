"""Moving the parts of a file in several threads, in a job that can be stopped at any time.

Runs on the system, on Python 3.6 and newer.
"""

import threading

from passerelle.storage.remote.outcome import Failure
from passerelle.storage.staging.remote.job import (
    Stopped,
    fail,
    ignore_signals,
    log,
    read_parameters,
    refusal,
    remove_parameters,
)
from passerelle.storage.staging.s3.remote.http import Store, StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

_STOP_TIMEOUT = 5  # seconds that threads have to notice that they are stopped


def in_parallel(store: Store, workers: int, count: int, work: "Callable[[int], T]") -> "list[T]":
    """The results of `work` for each number below `count`, in at most `workers` threads. Raises the first failure."""
    return _Workers(store, count, work).run(min(workers, count))


class _Workers:
    def __init__(self, store: Store, count: int, work: "Callable[[int], Any]") -> None:
        self._stopping = store.stopping
        self._work = work
        self._numbers = iter(range(count))
        self._lock = threading.Lock()
        self._ended = threading.Semaphore(0)
        self._results: list[Any] = [None] * count
        self._failures: list[BaseException] = []

    def run(self, workers: int) -> "list[Any]":
        threads = [threading.Thread(target=self._run_numbers, daemon=True) for _ in range(workers)]
        for thread in threads:
            thread.start()
        try:
            for _ in threads:
                self._ended.acquire()  # a signal interrupts this
        except BaseException:
            self._stopping.set()
            for thread in threads:
                thread.join(_STOP_TIMEOUT / workers)
            raise
        if self._failures:
            raise self._failures[0]
        return self._results

    def _run_numbers(self) -> None:
        try:
            while not self._stopping.is_set():
                with self._lock:
                    number = next(self._numbers, None)
                if number is None:
                    break
                self._results[number] = self._work(number)
        except BaseException as error:
            self._failures.append(error)
            self._stopping.set()
        finally:
            self._ended.release()


def run_job(kind: "Callable[[dict[str, Any], Store], Any]") -> None:
    """Call the job's `run`, and its `undo` when that fails or the scheduler ends it. Then log why, and end the job.

    `kind` makes the job from its parameters and the store. Both methods return whether nothing is left to remove. Of an
    unexpected exception only its type is logged, since its text may contain a URL.
    """
    parameters = read_parameters()
    store = Store(parameters["ca"], parameters["retries"])
    job = kind(parameters, store)
    failure = ""
    try:
        tidy = job.run()
    except BaseException as error:
        ignore_signals()
        failure = "Transfer failed: " + _reason(parameters["path"], error, store.last_error)
        tidy = job.undo()
    if tidy:
        remove_parameters()
    if failure:
        fail(failure)


def remove_from_store(store: Store, parameters: "dict[str, Any]") -> bool:
    """Remove a transfer's upload and object from the store; whether both were removed."""
    parts = log_unless_done(store.remove(parameters["abort"]), "the parts of the upload")
    return log_unless_done(store.remove(parameters["delete"]), "the object") and parts


def log_unless_done(done: bool, description: str) -> bool:
    """Log what was not removed, unless `done`, which is returned."""
    if not done:
        log("The object store did not remove %s now." % description)  # noqa: UP031
    return done


def _reason(path: str, error: BaseException, last_error: str) -> str:
    if isinstance(error, Stopped):
        last = "; before that, %s" % last_error if last_error else ""  # noqa: UP031
        return "the job was cancelled, or its time was up" + last
    if isinstance(error, StoreError):
        return str(error)
    if isinstance(error, (Failure, OSError)):
        return refusal(path, error)
    return "unforeseen %s" % type(error).__name__  # noqa: UP031

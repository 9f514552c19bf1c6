"""Parts of a file, moved by several threads at once, in a job that can be stopped at any time.

Runs on the system, on Python 3.6 and newer.
"""

import threading

from passerelle.storage.remote.outcome import Failure
from passerelle.storage.staging.remote.job import (
    Stopped,
    fail,
    nothing_is_left,
    parameters,
    refusal,
    say,
    stop_listening,
)
from passerelle.storage.staging.s3.remote.http import Store, Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

_LAST_SECONDS = 5  # that threads have to notice that they are stopped


def in_parallel(store: Store, workers: int, count: int, work: "Callable[[int], T]") -> "list[T]":
    """What `work` returns for each number below `count`, by at most `workers` threads; raises the first failure."""
    return _Workers(store, count, work).run(min(workers, count))


class _Workers:
    def __init__(self, store: Store, count: int, work: "Callable[[int], Any]") -> None:
        self._stopping = store.stopping
        self._work = work
        self._numbers = iter(range(count))
        self._taking = threading.Lock()
        self._ended = threading.Semaphore(0)
        self._results: list[Any] = [None] * count
        self._failures: list[BaseException] = []

    def run(self, workers: int) -> "list[Any]":
        threads = [threading.Thread(target=self._take_numbers, daemon=True) for _ in range(workers)]
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

    def _take_numbers(self) -> None:
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


def run_job(kind: "Callable[[dict[str, Any], Store], Any]") -> None:
    """Do the `run` of a job, and its `undo` when that fails or the scheduler ends the job; then end the job saying why.

    `kind` makes the job of its parameters and the store. Both methods return whether nothing is left that ought not to
    be. Says nothing about what is not foreseen but its kind: the words of foreign exceptions may name a URL.
    """
    given = parameters()
    store = Store(given["ca"], given["retries"])
    job = kind(given, store)
    failure = ""
    try:
        tidy = job.run()
    except BaseException as error:
        stop_listening()
        failure = "Transfer failed: " + _why(given["path"], error, store.fault)
        tidy = job.undo()
    if tidy:
        nothing_is_left()
    if failure:
        fail(failure)


def undone(store: Store, given: "dict[str, Any]") -> bool:
    """Remove a transfer's upload and object from the store; whether they are gone."""
    parts = tidied(store.remove(given["abort"]), "the parts of the upload")
    return tidied(store.remove(given["delete"]), "the object") and parts


def tidied(done: bool, what: str) -> bool:
    """Whether something was removed; tells when not."""
    if not done:
        say("The object store did not remove %s now." % what)  # noqa: UP031
    return done


def _why(path: str, error: BaseException, fault: str) -> str:
    if isinstance(error, Stopped):
        last = "; before that, %s" % fault if fault else ""  # noqa: UP031
        return "the job was cancelled, or its time was up" + last
    if isinstance(error, Trouble):
        return str(error)
    if isinstance(error, (Failure, OSError)):
        return refusal(path, error)
    return "unforeseen %s" % type(error).__name__  # noqa: UP031

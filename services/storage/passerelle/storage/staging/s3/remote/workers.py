"""What the jobs that send a file to the store and fetch one from it share: moving its parts in several threads.

Runs on the system, on Python 3.6 and newer.
"""

import threading
from abc import ABC, abstractmethod

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


class Transfer(ABC):
    """Moves a file of `_size` bytes, opened as `_file`, in parts. `run` and `undo` differ by the direction.

    `parameters` are the job's; `part_size` in bytes and `parallel`, the number of threads, are read here.
    """

    def __init__(self, parameters: "dict[str, Any]", store: Store) -> None:
        self._parameters = parameters
        self._store = store
        self._part_size = int(parameters["part_size"])
        self._size = 0
        self._file = -1

    @abstractmethod
    def run(self) -> bool:
        """Move the file; whether nothing is left to remove. Raises StoreError, Failure or OSError."""

    def undo(self) -> bool:
        """Remove what the transfer left behind; whether that succeeded. Here: the store's upload and object."""
        parts = self._remove("abort", "the parts of the upload")
        return self._remove_object() and parts

    def _remove_object(self) -> bool:
        return self._remove("delete", "the object")

    def _remove(self, url: str, description: str) -> bool:
        """Request the removal by the URL in the parameter `url`; whether it was done, which is logged if not."""
        done = self._store.remove(self._parameters[url])
        if not done:
            log("The object store did not remove %s now." % description)  # noqa: UP031
        return done

    def _in_parallel(self, count: int, work: "Callable[[int], T]") -> "list[T]":
        """The results of `work` for each number below `count`. Raises the first failure."""
        return _Workers(self._store, count, work).run(min(self._parameters["parallel"], count))

    def _range(self, number: int) -> "tuple[int, int]":
        """The offset and the length in bytes of the part with this number, counted from 0."""
        offset = number * self._part_size
        return offset, min(self._part_size, self._size - offset)


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


def run_job(direction: "type[Transfer]") -> None:
    """Call the transfer's `run`, and its `undo` when that fails or the scheduler ends the job. Then log why, and end.

    Of an unexpected exception only its type is logged, since its text may contain a URL.
    """
    parameters = read_parameters()
    store = Store(parameters["ca"], parameters["retries"])
    transfer = direction(parameters, store)
    failure = ""
    try:
        tidy = transfer.run()
    except BaseException as error:
        ignore_signals()
        failure = "Transfer failed: " + _reason(parameters["path"], error, store.last_error)
        tidy = transfer.undo()
    if tidy:
        remove_parameters()
    if failure:
        fail(failure)


def _reason(path: str, error: BaseException, last_error: str) -> str:
    if isinstance(error, Stopped):
        last = "; before that, %s" % last_error if last_error else ""  # noqa: UP031
        return "the job was cancelled, or its time was up" + last
    if isinstance(error, StoreError):
        return str(error)
    if isinstance(error, (Failure, OSError)):
        return refusal(path, error)
    return "unforeseen %s" % type(error).__name__  # noqa: UP031

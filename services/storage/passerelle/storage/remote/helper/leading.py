"""Which of the helper's threads leads: it reads requests, and runs most operations itself.

Handing a request to another thread costs more than most operations do. So the leading thread works alone while
operations are quick. Another thread takes the lead before an operation that is streamed or has been slow recently, and,
by a watchdog, when the leading thread hangs in an operation, as it does on a filesystem whose server is down.
"""

import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

PATIENCE = 0.025
"""The watchdog's interval, in seconds. An operation of the leading thread may take one to two intervals."""
SLOW = 0.0005
"""Seconds. Operations that take longer on average run in parallel, each in a thread of its own."""
_WEIGHT = 1 / 8  # of the last operation in the average
# Of the average with each operation in a thread of its own, so that the leading thread tries again.
_DECAY = 1 / 64


class Leading:
    """At most `limit` threads. One at a time leads: it runs `lead`, which returns when another thread has the lead."""

    def __init__(self, lead: "Callable[[], None]", limit: int) -> None:
        self._lead = lead
        self._limit = limit
        self._lead_taken = threading.Lock()
        self._guard = threading.Lock()
        self._threads = 0
        self._waiting = 0  # threads that wait for the lead
        self._term = 0  # counts the changes of the leading thread
        self._turn = 0  # counts the operations of leading threads
        self._running = False  # whether the leading thread runs an operation
        self._overdue = 0  # operations that cost their thread the lead, and have not ended
        self._averages: dict[str, float] = {}  # seconds, by operation
        self._awake = threading.Event()  # the watchdog

    def start(self) -> None:
        """Start the first thread and the watchdog."""
        with self._guard:
            self._start_thread()
        threading.Thread(target=self._watch, daemon=True).start()

    def quick(self, operation: str) -> bool:
        """Whether the leading thread should run the operation: it has been quick recently, and none is overdue."""
        average = self._averages.get(operation, 0)
        if average >= SLOW:
            self._averages[operation] = average * (1 - _DECAY)
        return average < SLOW and not self._overdue

    def hand_over(self) -> bool:
        """Give the lead to another thread; False when all threads are busy, and the leading one must continue."""
        with self._guard:
            return self._hand_over()

    def run(self, operation: str, work: "Callable[[], T]") -> "tuple[T, bool]":
        """Run `work` in the leading thread: its result, and whether the thread still leads."""
        term, started = self._term, time.monotonic()
        self._turn += 1
        self._running = True
        if not self._awake.is_set():
            self._awake.set()
        result = work()
        average = self._averages.get(operation, 0)
        self._averages[operation] = average + (time.monotonic() - started - average) * _WEIGHT
        with self._guard:
            if self._term != term:
                self._overdue -= 1
                return result, False
            self._running = False
            return result, True

    def _work(self) -> None:
        while True:
            self._lead_taken.acquire()
            with self._guard:
                self._waiting -= 1
            self._lead()
            with self._guard:
                self._waiting += 1

    def _hand_over(self) -> bool:
        if not self._waiting and not self._start_thread():
            return False
        self._term += 1
        self._lead_taken.release()
        return True

    def _start_thread(self) -> bool:
        if self._threads == self._limit:
            return False
        try:
            threading.Thread(target=self._work, daemon=True).start()
        except RuntimeError:  # the system's limit for this user
            return False
        self._threads += 1
        self._waiting += 1
        return True

    def _watch(self) -> None:
        """Take the lead from a thread whose operation takes too long."""
        while True:
            self._awake.wait()
            turn = self._turn
            time.sleep(PATIENCE)
            with self._guard:
                if turn != self._turn:
                    continue
                if not self._running:
                    self._sleep(turn)
                elif self._hand_over():
                    self._overdue += 1
                    self._running = False

    def _sleep(self, turn: int) -> None:
        """Let the watchdog sleep until the next operation, unless one has started that could not know that."""
        self._awake.clear()
        if turn != self._turn:
            self._awake.set()

"""Single flight: work that several callers want at the same time is done once, and its outcome reaches all of them.

The work runs in a task of its own, in the context of the caller who asked first: with its identity, and its fields in
log lines. So a key has to name whatever the outcome depends on: the account, where a system decides by that; the
token, where its owner's rights decide.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from passerelle.runtime.errors import Forbidden, Unauthenticated

T = TypeVar("T")

_ABOUT_THE_CALLER = (Unauthenticated, Forbidden)


@dataclass(eq=False, slots=True)
class _Flight:
    """Work in progress, and how many callers wait for it."""

    task: "asyncio.Task[Any]"
    waiting: int = 0


class Flights:
    """Work in progress, by key.

    A deadline around `run` is that of one caller; a deadline for the work belongs inside the work. When no caller waits
    any more, the work is cancelled. With `lasting`, it goes on instead, for later callers.
    """

    def __init__(self, *, lasting: bool = False) -> None:
        self._lasting = lasting
        self._flights: dict[Hashable, _Flight] = {}

    def __len__(self) -> int:
        """How many works are in progress."""
        return len(self._flights)

    async def run(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of `work`, or of what another caller has begun under the same `key`; raises what that raises.

        A refusal of the caller who asked first (Unauthenticated, Forbidden) is its own: the others ask again.
        """
        while True:
            joined = self._under_way(key)
            flight = joined or self._begin(key, work())
            try:
                result: T = await self._landed(key, flight)
                return result
            except _ABOUT_THE_CALLER:
                if joined is None:
                    raise

    def forget(self, key: Hashable) -> None:
        """Let no other caller join the work of `key`; those that wait for it still get its result."""
        self._flights.pop(key, None)

    async def close(self) -> None:
        """Cancel all work, and wait for its end."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _under_way(self, key: Hashable) -> _Flight | None:
        flight = self._flights.get(key)
        return None if flight is None or flight.task.done() else flight

    def _begin(self, key: Hashable, work: Coroutine[Any, Any, Any]) -> _Flight:
        flight = self._flights[key] = _Flight(asyncio.create_task(work))

        def done(task: "asyncio.Task[Any]") -> None:
            self._drop(key, flight)
            if not task.cancelled():
                task.exception()  # retrieved, because asyncio logs exceptions that nobody retrieves

        flight.task.add_done_callback(done)
        return flight

    async def _landed(self, key: Hashable, flight: _Flight) -> Any:
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not (flight.waiting or self._lasting or flight.task.done()):
                flight.task.cancel()
                self._drop(key, flight)

    def _drop(self, key: Hashable, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


class FreshFlights:
    """Single flight for reads that must see what was written before they were asked for.

    Work that has begun may already have read what a new caller has just written. So a caller joins only work that has
    not begun. Of each key at most one work runs and one waits, and every result is at least as new as its request.
    """

    def __init__(self) -> None:
        self._flights = Flights()
        self._running: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    async def run(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of `work`, or of another caller's work under the same `key` that has not begun yet."""

        async def in_turn() -> T:
            running = self._running.setdefault(key, asyncio.Lock())
            async with running:
                self._flights.forget(key)
                return await work()

        return await self._flights.run(key, in_turn)

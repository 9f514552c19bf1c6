"""Taking turns: how many calls of one user work at once, and how many may wait in line."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from passerelle.runtime.errors import Overloaded
from passerelle.runtime.metrics import CALLS_WAITING


class Turns:
    """At most `at_once` blocks run at a time; at most `waiting` more wait, and the next is refused."""

    def __init__(self, system: str, at_once: int, waiting: int) -> None:
        self._system = system
        self._free = asyncio.Semaphore(at_once)
        self._room = waiting

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Run the block when its turn comes; raises Overloaded when too many wait already."""
        if self._free.locked() and not self._room:
            raise Overloaded(
                f"Too many calls of this user wait for system {self._system}.", system=self._system
            )
        self._room -= 1
        try:
            with CALLS_WAITING.labels(self._system).track_inprogress():
                await self._free.acquire()
        finally:
            self._room += 1
        try:
            yield
        finally:
            self._free.release()

"""A bounded queue for the calls of one user. The metrics show how many calls wait."""

import asyncio
from contextlib import AbstractAsyncContextManager

from passerelle.runtime.errors import Overloaded
from passerelle.runtime.metrics import CALLS_WAITING


class CallQueue(AbstractAsyncContextManager[None]):
    """Runs `at_once` calls at a time. Up to `most_waiting` more wait, in their order; further ones are refused.

    Waiting calls are counted in `passerelle_calls_waiting` under `name`, such as `channels`, and the system's name.
    """

    def __init__(self, system: str, name: str, *, at_once: int, most_waiting: int) -> None:
        self._system = system
        self._free = asyncio.Semaphore(at_once)
        self._room = most_waiting
        self._waiting = CALLS_WAITING.labels(system, name)

    def slot(self) -> AbstractAsyncContextManager[None]:
        """Run the block when there is a free slot; raises Overloaded when too many wait already."""
        return self

    async def __aenter__(self) -> None:
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()  # without waiting

    async def __aexit__(self, *_: object) -> None:
        self._free.release()

    async def _wait(self) -> None:
        if not self._room:
            raise Overloaded(
                f"Too many calls of this user wait for system {self._system}.", system=self._system
            )
        self._room -= 1
        try:
            with self._waiting.track_inprogress():
                await self._free.acquire()
        finally:
            self._room += 1

"""Identical reads of one user cost one: who comes while one waits for its turn shares its result.

A call is never shared once it has begun, because it may have passed by what the newcomer has just written. So of
identical calls at most one runs and one waits, and every answer is at least as new as its question.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field


@dataclass(eq=False)
class _Shared:
    """A call that several wait for."""

    task: "asyncio.Task[bytes] | None" = None
    begun: bool = False
    waiting: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)


class SharedCalls:
    """Runs calls by key."""

    def __init__(self) -> None:
        self._latest: dict[Hashable, _Shared] = {}

    async def run(self, key: Hashable, call: Callable[[], Awaitable[bytes]]) -> bytes:
        """The result of `call`, or of an identical one that had not begun; the last one to lose interest cancels it."""
        before = self._latest.get(key)
        shared = before
        if shared is None or shared.begun:
            shared = self._latest[key] = _Shared()
            shared.task = asyncio.create_task(self._run(key, shared, before, call))
        assert shared.task is not None  # noqa: S101  # for the type checker: set where it was made
        shared.waiting += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.waiting -= 1
            if not shared.waiting:
                shared.task.cancel()
                self._forget(key, shared)

    async def _run(
        self,
        key: Hashable,
        shared: _Shared,
        before: _Shared | None,
        call: Callable[[], Awaitable[bytes]],
    ) -> bytes:
        try:
            if before is not None:
                await before.done.wait()
            shared.begun = True
            return await call()
        finally:
            shared.done.set()
            self._forget(key, shared)

    def _forget(self, key: Hashable, shared: _Shared) -> None:
        if self._latest.get(key) is shared:
            del self._latest[key]

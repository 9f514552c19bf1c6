"""The Scheduler port in front of a plugin, with a cache of its answers."""

import inspect
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, cast

from passerelle.compute.answer_cache import AnswerCache
from passerelle.compute.scheduler import ProgramMissing, Scheduler, Sharing
from passerelle.runtime import caller

log = logging.getLogger(__name__)


def cached(scheduler: Scheduler, system: str, cache: AnswerCache) -> Scheduler:
    """The port in front of `scheduler`, that of `system`; the marks of its methods say whose answers are cached."""
    return cast(Scheduler, CachingScheduler(scheduler, system, cache))


class CachingScheduler:
    """Has every method of the port, and treats each as its mark in the port says: cached, asked anew, or a change."""

    def __init__(self, scheduler: Scheduler, system: str, cache: AnswerCache) -> None:
        self._scheduler = scheduler
        self._system = system
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        """The method of the port with this name, made when it is first called; AttributeError when it has none."""
        declared = getattr(Scheduler, name)
        method = getattr(self._scheduler, name)
        if inspect.iscoroutinefunction(declared):
            sharing = getattr(declared, "sharing", None)
            how = {Sharing.SHARED: self._ask, Sharing.FRESH: self._ask_anew, None: self._change}
            method = partial(how[sharing], method, name)
        setattr(self, name, method)
        return method

    async def _ask(self, method: Any, *question: Any) -> Any:
        """Answer from the cache, or join a request of the same user with the same question."""
        _, *arguments = question
        with self._naming_the_system():
            return await self._cache.read(self._owner, question, lambda: method(*arguments))

    async def _ask_anew(self, method: Any, name: str, *arguments: Any) -> Any:
        with self._naming_the_system():
            return await method(*arguments)

    async def _change(self, method: Any, name: str, *arguments: Any) -> Any:
        async with self._changing():
            return await method(*arguments)

    @property
    def _owner(self) -> tuple[str, str]:
        return self._system, caller.current().username

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[None]:
        """Drop the user's answers after a change, also after a failed one, which may have had an effect."""
        try:
            with self._naming_the_system():
                yield
        finally:
            self._cache.forget(self._owner)

    @contextmanager
    def _naming_the_system(self) -> Iterator[None]:
        """Add the system to the error that a program is missing, and log it: an operator has to install it."""
        try:
            yield
        except ProgramMissing as error:
            named = ProgramMissing(error.program, self._system)
            log.warning("%s", named.detail)
            raise named from None

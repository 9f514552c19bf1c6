"""A scheduler whose answers are shared and kept for a moment; see `queries`."""

import inspect
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, cast

from passerelle.compute.queries import Queries
from passerelle.compute.scheduler import ProgramMissing, Scheduler, Sharing
from passerelle.runtime import caller

log = logging.getLogger(__name__)


def shared(scheduler: Scheduler, system: str, queries: Queries) -> Scheduler:
    """The port in front of `scheduler`, the one of `system`; its marks (`question`) say what is shared."""
    return cast(Scheduler, SharedScheduler(scheduler, system, queries))


class SharedScheduler:
    """Has every method of the port: what a scheduler answers is shared as the port says, whichever method it is."""

    def __init__(self, scheduler: Scheduler, system: str, queries: Queries) -> None:
        self._scheduler = scheduler
        self._system = system
        self._queries = queries

    def __getattr__(self, name: str) -> Any:
        """The method of the port with this name; AttributeError when it has none."""
        declared = getattr(Scheduler, name)
        method = getattr(self._scheduler, name)
        if not inspect.iscoroutinefunction(declared):
            return method
        sharing = getattr(declared, "sharing", None)
        how = {Sharing.SHARED: self._ask, Sharing.FRESH: self._ask_anew, None: self._change}
        return partial(how[sharing], method, name)

    async def _ask(self, method: Any, *question: Any) -> Any:
        """Answer by what the same user was, or is being, answered to the same question."""
        _, *arguments = question
        with self._naming_the_system():
            return await self._queries.read(self._owner, question, lambda: method(*arguments))

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
        """Forget the user's answers after a change, also after a failed one: it may have come through."""
        try:
            with self._naming_the_system():
                yield
        finally:
            self._queries.written(self._owner)

    @contextmanager
    def _naming_the_system(self) -> Iterator[None]:
        """Say of which system a program is missing: that is its operator's to mend."""
        try:
            yield
        except ProgramMissing as error:
            named = ProgramMissing(error.program, self._system)
            log.warning("%s", named.detail)
            raise named from None

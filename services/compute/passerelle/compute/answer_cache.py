"""A cache of schedulers' answers: callers with the same question share one request, and its answer for a moment.

Each owner (a user on a system) has answers of its own. After a write of the owner, `forget` drops them all; a request
that was running before the write answers only those who were waiting for it already.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cachetools import LRUCache

from passerelle.runtime.flight import Flights

T = TypeVar("T")

_MAX_OWNERS = 4096
_MAX_ANSWERS = 128  # per owner


@dataclass(frozen=True, slots=True)
class _Answers:
    """The answers of one owner: those that are stored, and the requests that are running."""

    stored: LRUCache[Hashable, Any] = field(default_factory=lambda: LRUCache(_MAX_ANSWERS))
    requests: Flights = field(default_factory=Flights)


class AnswerCache:
    """Stores each answer for `seconds`; with 0, only running requests are shared. Failures are never stored.

    After that it lets go of the answer, whether or not the owner ever asks again: a list of 50 000 jobs takes 70 MiB.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._owners: LRUCache[Hashable, _Answers] = LRUCache(_MAX_OWNERS)

    async def read(
        self, owner: Hashable, question: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        """The answer to `question`: the stored one, that of a running request, or that of `ask`; see `Flights.run`."""
        answers = self._of(owner)
        try:
            answer: T = answers.stored[question]
        except KeyError:
            return await answers.requests.run(
                question, lambda: self._request(answers, question, ask)
            )
        return answer

    def forget(self, owner: Hashable) -> None:
        """Drop all answers of `owner`, those of running requests too."""
        self._owners.pop(owner, None)

    def _of(self, owner: Hashable) -> _Answers:
        answers = self._owners.get(owner)
        if answers is None:
            answers = self._owners[owner] = _Answers()
        return answers

    async def _request(
        self, answers: _Answers, question: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        answer = await ask()
        if self._seconds:
            answers.stored[question] = answer
            loop = asyncio.get_running_loop()
            loop.call_later(self._seconds, answers.stored.pop, question, None)
        return answer

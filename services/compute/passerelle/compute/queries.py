"""Identical questions asked once: answers in flight are shared, and kept for a moment, per owner.

An owner (a user on a system) reads its own writes: `written` forgets all its answers, and a question that was on its
way before the write reaches only those who were waiting for it already.
"""

from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cachetools import LRUCache, TTLCache

from passerelle.runtime.flight import Flights

T = TypeVar("T")

_MAX_OWNERS = 4096
_MAX_ANSWERS = 128  # per owner


@dataclass(frozen=True, slots=True)
class _Answers:
    """Those of one owner: kept, and on their way."""

    kept: TTLCache[Hashable, Any]
    asking: Flights = field(default_factory=Flights)


class Queries:
    """Shares answers, each for `seconds` after it came; with 0, only those in flight. Failures are never kept."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._owners: LRUCache[Hashable, _Answers] = LRUCache(_MAX_OWNERS)

    async def read(
        self, owner: Hashable, question: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        """The answer to `question`, asked by `ask` unless it is known or on its way; see `Flights.run`."""
        answers = self._of(owner)
        try:
            known: T = answers.kept[question]
        except KeyError:
            return await answers.asking.run(question, lambda: _kept(answers, question, ask))
        return known

    def written(self, owner: Hashable) -> None:
        """Forget what `owner` was answered, and what it is about to be answered."""
        self._owners.pop(owner, None)

    def _of(self, owner: Hashable) -> _Answers:
        found = self._owners.get(owner)
        if found is None:
            found = self._owners[owner] = _Answers(TTLCache(_MAX_ANSWERS, self._seconds))
        return found


async def _kept(
    answers: _Answers, question: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]
) -> T:
    answer = answers.kept[question] = await ask()
    return answer

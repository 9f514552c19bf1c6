"""Identical questions asked once: answers in flight are shared, and kept for a moment, per owner.

An owner (a user on a system) reads its own writes: `written` forgets all its answers, and a question that was on its
way before the write reaches only those who were waiting for it already.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

_MAX_OWNERS = 4096
_MAX_ANSWERS = 128  # per owner


@dataclass(slots=True)
class _Answer:
    task: "asyncio.Task[Any]"
    waiting: int = 0


_Answers = OrderedDict[Hashable, _Answer]


class Queries:
    """Shares answers, each for `seconds` after it came; with 0, only those in flight. Failures are never kept."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._owners: OrderedDict[Hashable, _Answers] = OrderedDict()

    async def read(
        self, owner: Hashable, question: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        """The answer to `question`, asked by `ask` unless it is known or on its way.

        A caller that goes away takes the answer from nobody; when all have gone, the asking is cancelled.
        """
        answers = self._of(owner)
        answer = answers.get(question) or self._asked(answers, question, ask())
        answer.waiting += 1
        try:
            result: T = await asyncio.shield(answer.task)
            return result
        finally:
            answer.waiting -= 1
            if answer.waiting == 0 and not answer.task.done():
                answer.task.cancel()
                _forget(answers, question, answer)

    def written(self, owner: Hashable) -> None:
        """Forget what `owner` was answered, and what it is about to be answered."""
        self._owners.pop(owner, None)

    def _of(self, owner: Hashable) -> _Answers:
        found = self._owners.setdefault(owner, OrderedDict())
        self._owners.move_to_end(owner)
        if len(self._owners) > _MAX_OWNERS:
            self._owners.popitem(last=False)
        return found

    def _asked(
        self, answers: _Answers, question: Hashable, asking: Coroutine[Any, Any, Any]
    ) -> _Answer:
        answer = answers[question] = _Answer(asyncio.create_task(asking))
        if len(answers) > _MAX_ANSWERS:
            answers.popitem(last=False)

        def done(task: "asyncio.Task[Any]") -> None:
            if task.cancelled() or task.exception() is not None or self._seconds == 0:
                _forget(answers, question, answer)
            else:
                later = asyncio.get_running_loop().call_later
                later(self._seconds, _forget, answers, question, answer)

        answer.task.add_done_callback(done)
        return answer


def _forget(answers: _Answers, question: Hashable, answer: _Answer) -> None:
    if answers.get(question) is answer:
        del answers[question]

"""How much a test tries: all in a strict run, less otherwise, for `make test-fast` is waited for."""

from typing import TypeVar

from tests import real

T = TypeVar("T")


def examples(strict: int) -> int:
    """The number of examples of a test that tries `strict` of them in a strict run."""
    return strict if real.STRICT else max(strict // 10, 2)


def strictly(*parameters: T) -> tuple[T, ...]:
    """These parameters of a test in a strict run, and none otherwise: those that are dear and show little more."""
    return parameters if real.STRICT else ()

"""The number of examples of hypothesis: all in a strict run, a third otherwise."""

from tests import real


def examples(strict: int) -> int:
    """The number of examples of a test that tries `strict` of them in a strict run."""
    return strict if real.STRICT else max(strict // 3, 5)

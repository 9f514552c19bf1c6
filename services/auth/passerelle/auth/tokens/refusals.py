"""Tells the operator why tokens were refused, in auth's log and metrics. Callers get a shorter answer."""

import json
import logging
import time
from collections.abc import Callable
from typing import Any

from prometheus_client import Counter

from passerelle.runtime.errors import ApiError, shortened
from passerelle.runtime.token_buckets import Bucket

log = logging.getLogger(__name__)

REFUSED = Counter("passerelle_tokens_refused_total", "Access tokens refused.", ["claim"])

_MAX_VALUE = (
    200  # characters of a claim, which anybody can have written until the signature is verified
)
_BURST = 20
_PER_SECOND = 1.0


class Refusal(Exception):
    """A token that is not accepted: `error` is the caller's answer, the rest is for the log.

    `claim` names the part of the token that is not accepted (it is a label of the metric, too); `seen` is its value,
    and `expected` says which values are accepted.
    """

    def __init__(self, error: ApiError, claim: str, seen: Any, expected: Any) -> None:
        super().__init__(claim)
        self.error = error
        self.claim = claim
        self.seen = _printable(seen)
        self.expected = _printable(expected)


class RefusalLog:
    """Logs refused tokens: a line each, up to a rate. The next line says how many were left out.

    So nobody can fill a disk with bad tokens. `clock` is in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lines = Bucket(_BURST, _PER_SECOND, clock())
        self._silent = 0

    def write(self, refusal: Refusal) -> None:
        """Count it, and log it when there is room."""
        REFUSED.labels(refusal.claim).inc()
        if self._lines.take(self._clock()):
            self._silent += 1
            return
        extra = {"claim": refusal.claim, "seen": refusal.seen, "expected": refusal.expected}
        if self._silent:
            extra["not_logged"] = str(self._silent)
            self._silent = 0
        log.warning(
            "token refused: %s is %s; accepted: %s",
            refusal.claim,
            refusal.seen,
            refusal.expected,
            extra=extra,
        )


def _printable(value: Any) -> str:
    """A value in bounded, printable characters."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return shortened("".join(char if char.isprintable() else "?" for char in text), _MAX_VALUE)

"""How much of a service one user, or one OAuth client, may have: calls at once, and calls a second."""

import math
import time
from collections import Counter
from collections.abc import Callable

from passerelle.runtime.caller import Caller
from passerelle.runtime.errors import Overloaded, RateLimited
from passerelle.runtime.token_buckets import Buckets

_BURST_SECONDS = 10.0  # so many seconds' calls may come at once


class CallLimits:
    """Counts the calls that one process serves. None is no limit; rates are calls a second.

    `clock` is in seconds.
    """

    def __init__(
        self,
        *,
        open_per_user: int | None = None,
        per_user: float | None = None,
        per_client: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = open_per_user
        self._open: Counter[tuple[str, str]] = Counter()
        self._users = _Rate("user", per_user, clock)
        self._clients = _Rate("client", per_client, clock)

    def one_call(self, caller: Caller) -> "_OpenCall":
        """Count a call of `caller` inside the block; Overloaded or RateLimited when that is one too many."""
        return _OpenCall(self, caller)

    def _begin(self, user: tuple[str, str], caller: Caller) -> None:
        if self._most is not None and self._open[user] >= self._most:
            raise Overloaded(f"You have {self._most} requests open here already; end some first.")
        self._users.count(user)
        if caller.client_id:
            self._clients.count((caller.issuer, caller.client_id))
        self._open[user] += 1

    def _end(self, user: tuple[str, str]) -> None:
        self._open[user] -= 1
        if not self._open[user]:
            del self._open[user]


class _OpenCall:
    """A block in which a call counts: a class, since a generator around each call would take longer."""

    __slots__ = ("_caller", "_limits", "_user")

    def __init__(self, limits: CallLimits, caller: Caller) -> None:
        self._limits = limits
        self._caller = caller
        self._user = caller.issuer, caller.subject or caller.username

    def __enter__(self) -> None:
        self._limits._begin(self._user, self._caller)

    def __exit__(self, *_: object) -> None:
        self._limits._end(self._user)


class _Rate:
    """Calls a second of each user, or of each client, as `of` says."""

    def __init__(self, of: str, per_second: float | None, clock: Callable[[], float]) -> None:
        self._of = of
        self._per_second = per_second
        self._buckets = per_second and Buckets(
            max(1.0, per_second * _BURST_SECONDS), per_second, clock=clock
        )

    def count(self, key: tuple[str, str]) -> None:
        if self._buckets and self._per_second and (seconds := self._buckets.take(key)):
            many = f"More than {self._per_second:g} requests a second of one {self._of}."
            error = RateLimited(many)
            error.retry_after = math.ceil(seconds)
            error.policy = self._of, max(1, math.ceil(self._per_second))
            raise error

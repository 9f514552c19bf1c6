"""How many refusals one client address may have."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_MAX_ADDRESSES = 50_000  # the longest unseen are forgotten


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Failures:
    """A token bucket for each address: `per_minute` refusals at once, and as many a minute."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(per_minute)
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def count(self, address: str) -> int | None:
        """Count one refusal; when there were too many, the seconds until the next one is free, else None."""
        now = self._clock()
        bucket = self._buckets.setdefault(address, _Bucket(self._most, now))
        self._buckets.move_to_end(address)
        if len(self._buckets) > _MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        bucket.left = min(self._most, bucket.left + (now - bucket.at) * self._most / 60)
        bucket.at = now
        if bucket.left < 1:
            return int((1 - bucket.left) * 60 / self._most) + 1
        bucket.left -= 1
        return None

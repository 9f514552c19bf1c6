"""How many refusals one client address may have."""

import time
from collections import OrderedDict
from collections.abc import Callable

from passerelle.auth.bucket import Bucket

_MAX_ADDRESSES = 50_000  # the longest unseen are forgotten


class Failures:
    """A token bucket for each address: `per_minute` refusals at once, and as many a minute."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(per_minute)
        self._clock = clock
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def count(self, address: str) -> int | None:
        """Count one refusal; when there were too many, the seconds until the next one is free, else None."""
        now = self._clock()
        bucket = self._buckets.setdefault(address, Bucket(self._most, self._most / 60, now))
        self._buckets.move_to_end(address)
        if len(self._buckets) > _MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        wait = bucket.take(now)
        return int(wait) + 1 if wait else None

"""Token buckets, which limit a rate: a number of events at once, and then so many a second."""

import time
from collections.abc import Callable, Hashable

from cachetools import LRUCache


class Bucket:
    """Has `most` tokens at first, and never more; `per_second` are added. Times are in seconds of one clock."""

    def __init__(self, most: float, per_second: float, now: float) -> None:
        self._most = most
        self._per_second = per_second
        self._left = most
        self._at = now

    def take(self, now: float) -> float:
        """Take a token; returns 0, or, when there is none, the seconds until the next."""
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return (1 - self._left) / self._per_second
        self._left -= 1
        return 0.0


class Buckets:
    """A bucket for each key, such as a client's address. Of more than `keys`, the least recently used are dropped."""

    def __init__(
        self,
        most: float,
        per_second: float,
        *,
        keys: int = 50_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._per_second = per_second
        self._clock = clock
        self._buckets: LRUCache[Hashable, Bucket] = LRUCache(keys)

    def take(self, key: Hashable) -> float:
        """As `Bucket.take`, from the bucket of `key`."""
        now = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(self._most, self._per_second, now)
        return bucket.take(now)

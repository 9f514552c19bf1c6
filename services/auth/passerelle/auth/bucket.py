"""So many at once, and then so many a second: a token bucket."""


class Bucket:
    """Holds `most` at the beginning and never more; `per_second` come back. Times are seconds of one clock."""

    def __init__(self, most: float, per_second: float, now: float) -> None:
        self._most = most
        self._per_second = per_second
        self._left = most
        self._at = now

    def take(self, now: float) -> float:
        """Take one: 0; or, when there is none, the seconds until there is."""
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return (1 - self._left) / self._per_second
        self._left -= 1
        return 0.0

"""Writes requests that Envoy rejects into the audit log: a line each or, when there are too many, their number.

So a flood of them neither fills the disk nor displaces other lines of the log.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from passerelle.runtime import background
from passerelle.runtime.errors import ApiError
from passerelle.runtime.pipeline import audit
from passerelle.runtime.token_buckets import Bucket, Buckets

_BURST, _PER_SECOND = 20, 1.0  # lines of one address
_BURST_OF_ALL, _PER_SECOND_OF_ALL = 200, 10.0
_ADDRESSES = 1000  # counted separately; the rest are counted together
_OTHERS = "others"
_SUMMARY_SECONDS = 60.0


class RejectedRequests:
    """Writes the lines of rejected requests. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._addresses = Buckets(_BURST, _PER_SECOND, clock=clock)
        self._all = Bucket(_BURST_OF_ALL, _PER_SECOND_OF_ALL, clock())
        self._left_out: Counter[str] = Counter()

    def write(
        self, *, method: str, request_id: str, address: str, error: type[ApiError] | ApiError
    ) -> None:
        """Write the line of a request, or count it. `method` is its verb and path, or its gRPC path."""
        if self._addresses.take(address) or self._all.take(self._clock()):
            counted_alone = address in self._left_out or len(self._left_out) < _ADDRESSES
            self._left_out[address if counted_alone else _OTHERS] += 1
            return
        audit.write_turned_away(
            method=method,
            request_id=request_id,
            address=address,
            outcome=error.code.name,
            reason=error.reason,
        )

    def sum_up(self) -> None:
        """Write for each address how many requests have been counted and not written since the last call."""
        counted, self._left_out = self._left_out, Counter()
        for address, count in counted.items():
            audit.write_left_out(address=address, count=count)

    @asynccontextmanager
    async def summing_up(self) -> AsyncIterator[None]:
        """Call `sum_up` every minute inside the block, and at its end."""
        try:
            async with background.running(self._keep_summing_up()):
                yield
        finally:
            self.sum_up()

    async def _keep_summing_up(self) -> None:
        while True:
            await asyncio.sleep(_SUMMARY_SECONDS)
            self.sum_up()

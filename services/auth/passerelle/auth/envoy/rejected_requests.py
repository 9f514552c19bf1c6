"""Requests that go no further than Envoy, in the audit log: a line each, and a count where they are too many.

So a flood of them fills no disk, and pushes nothing else out of the log; how many there were is written all the same.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from passerelle.runtime.bucket import Bucket, Buckets
from passerelle.runtime.errors import ApiError
from passerelle.runtime.pipeline import audit

_BURST, _PER_SECOND = 20, 1.0  # lines of one address
_BURST_OF_ALL, _PER_SECOND_OF_ALL = 200, 10.0
_ADDRESSES = 1000  # that are counted one by one
_OTHERS = "others"
_SUMMARY_SECONDS = 60.0


class RejectedRequests:
    """Writes their lines. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._addresses = Buckets(_BURST, _PER_SECOND, clock=clock)
        self._all = Bucket(_BURST_OF_ALL, _PER_SECOND_OF_ALL, clock())
        self._left_out: Counter[str] = Counter()

    def write(
        self, *, method: str, request_id: str, address: str, error: type[ApiError] | ApiError
    ) -> None:
        """Write the line of one, or count it; `method` is its verb and path, or the gRPC path."""
        if self._addresses.take(address) or self._all.take(self._clock()):
            known = address in self._left_out or len(self._left_out) < _ADDRESSES
            self._left_out[address if known else _OTHERS] += 1
            return
        audit.write_turned_away(
            method=method,
            request_id=request_id,
            address=address,
            outcome=error.code.name,
            reason=error.reason,
        )

    def sum_up(self) -> None:
        """Write how many have been left out of each address since the last time."""
        counted, self._left_out = self._left_out, Counter()
        for address, count in counted.items():
            audit.write_left_out(address=address, count=count)

    @asynccontextmanager
    async def summed_up(self) -> AsyncIterator[None]:
        """Sum up every minute inside the block, and at its end."""
        task = asyncio.create_task(self._keep_summing_up())
        try:
            yield
        finally:
            task.cancel()
            self.sum_up()

    async def _keep_summing_up(self) -> None:
        while True:
            await asyncio.sleep(_SUMMARY_SECONDS)
            self.sum_up()

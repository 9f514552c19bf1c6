"""The beginning of arriving content, which is read to know whether the content is small."""

import asyncio
from collections.abc import AsyncIterator

from passerelle.runtime.errors import DeadlineExceeded


class Beginning:
    """Reads `chunks` until they end or have more than `limit` bytes.

    A sender may pause for at most `stall` seconds.
    """

    def __init__(self, chunks: AsyncIterator[bytes], limit: int, stall: float) -> None:
        self._chunks = chunks
        self._limit = limit
        self._stall = stall
        self._taken: list[bytes] = []

    async def complete(self) -> bytes | None:
        """All of the content; None when it has more than `limit` bytes, and always when that is 0.

        Raises DeadlineExceeded for a pause that is too long, and the errors of the chunks.
        """
        if not self._limit:
            return None
        size = 0
        try:
            async with asyncio.timeout(self._stall) as patience:
                async for chunk in timely(self._chunks, patience, self._stall):
                    self._taken.append(chunk)
                    size += len(chunk)
                    if size > self._limit:
                        return None
        except TimeoutError:
            raise DeadlineExceeded("No more content arrived in time.") from None
        taken, self._taken = self._taken, []
        return b"".join(taken)

    async def all(self) -> AsyncIterator[bytes]:
        """All content from its first byte on; to be used when `complete` returned None."""
        while self._taken:
            yield self._taken.pop(0)
        async for chunk in self._chunks:
            yield chunk


async def timely(
    chunks: AsyncIterator[bytes], patience: asyncio.Timeout, stall: float
) -> AsyncIterator[bytes]:
    """The same chunks; each moves the end of the time-out `patience` to `stall` seconds from now."""
    loop = asyncio.get_running_loop()
    async for chunk in chunks:
        patience.reschedule(loop.time() + stall)
        yield chunk

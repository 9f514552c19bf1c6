"""The beginning of content that arrives: enough of it to know whether it is small."""

import asyncio
from collections.abc import AsyncIterator

from passerelle.runtime.errors import DeadlineExceeded


class Beginning:
    """What is taken of `chunks` before they are known to have more than `limit` bytes together.

    A sender that sends nothing for `stall` seconds is given up.
    """

    def __init__(self, chunks: AsyncIterator[bytes], limit: int, stall: float) -> None:
        self._chunks = chunks
        self._limit = limit
        self._stall = stall
        self._taken: list[bytes] = []

    async def complete(self) -> bytes | None:
        """All of the content; None when it has more than `limit` bytes, and always when that is 0.

        Raises DeadlineExceeded, and what the chunks raise.
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
        """The content from its first byte on, when it was not complete."""
        while self._taken:
            yield self._taken.pop(0)
        async for chunk in self._chunks:
            yield chunk


async def timely(
    chunks: AsyncIterator[bytes], patience: asyncio.Timeout, stall: float
) -> AsyncIterator[bytes]:
    """The chunks; with each of them the sender gets `stall` seconds more until `patience` ends."""
    loop = asyncio.get_running_loop()
    async for chunk in chunks:
        patience.reschedule(loop.time() + stall)
        yield chunk

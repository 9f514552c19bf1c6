"""Content that comes in a stream of requests, as both APIs have it."""

from collections.abc import AsyncIterator
from typing import Any


async def pieces(first: bytes, others: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """The content, piece by piece: `first` is that of the first request, `others` are the requests after it.

    The caller must not keep the first request: hundreds of uploads may wait for their turn with its content.
    """
    held = [first]
    del first
    yield held.pop()
    async for request in others:
        yield request.content.data

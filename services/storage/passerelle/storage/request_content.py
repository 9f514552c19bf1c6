"""Content that comes in a stream of requests, as both APIs have it."""

from collections.abc import AsyncIterator
from typing import Any


async def pieces(first: bytes, others: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """The pieces of the content: `first` is that of the first request, `others` are the following requests.

    The caller must not keep a reference to the first request: hundreds of waiting uploads would hold its content.
    """
    held = [first]
    del first
    yield held.pop()
    async for request in others:
        yield request.content.data

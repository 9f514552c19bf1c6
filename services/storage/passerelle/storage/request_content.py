"""Content that comes in a stream of requests, as both APIs have it."""

from collections.abc import AsyncIterator
from typing import Any

from passerelle.runtime.errors import InvalidArgument
from passerelle.runtime.headers import BODY_LENGTH


async def pieces(first: bytes, others: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """The pieces of the content: `first` is that of the first request, `others` are the following requests.

    The caller must not keep a reference to the first request: hundreds of waiting uploads would hold its content.
    """
    held = [first]
    del first
    yield held.pop()
    async for request in others:
        yield request.content.data


def announced_length(context: Any) -> int | None:
    """How many bytes the body of a REST call has by its `Content-Length`; None where the client has not said it."""
    for name, value in context.invocation_metadata() or ():
        if name == BODY_LENGTH:
            return int(value)
    return None


async def of_length(chunks: AsyncIterator[bytes], length: int) -> AsyncIterator[bytes]:
    """The same chunks; raises InvalidArgument at their end unless they have `length` bytes together."""
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        yield chunk
    if size != length:
        raise InvalidArgument(f"The content is cut off: {size} of {length} bytes have arrived.")

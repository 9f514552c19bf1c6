"""Bounded bodies of what identity providers answer."""

import aiohttp

_MOST_BYTES = 1 << 20


async def body_of(reply: aiohttp.ClientResponse) -> bytes:
    """The whole body; raises ValueError when it has more than 1 MiB."""
    data = bytearray()
    async for chunk in reply.content.iter_any():
        data += chunk
        if len(data) > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES} bytes")
    return bytes(data)

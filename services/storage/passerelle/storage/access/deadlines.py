"""Bounds on how long a system may take."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from passerelle.runtime.errors import DeadlineExceeded


@asynccontextmanager
async def ending_in(seconds: float) -> AsyncIterator[None]:
    """Raise DeadlineExceeded in the block after that many seconds."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise DeadlineExceeded("Command execution timeout limit exceeded.") from None

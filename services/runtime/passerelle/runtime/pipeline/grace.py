"""How long streams go on when the token that let them in has expired."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from passerelle.runtime.errors import Unauthenticated


@dataclass(frozen=True, slots=True)
class Grace:
    """Seconds after the token's end: for what a client still sends, and for the answer to what it has sent.

    The answer brings nothing that was not allowed when it was asked for; what is sent is new each time.
    """

    sending: float = 5
    answered: float = 43_200


@asynccontextmanager
async def ending_at(moment: float, remedy: str = "") -> AsyncIterator[None]:
    """End the block with Unauthenticated at that time, in seconds since the epoch; `remedy` says what to do instead."""
    try:
        async with asyncio.timeout(moment - time.time()) as life:
            yield
    except TimeoutError:
        if not life.expired():
            raise
        raise Unauthenticated(f"Access token expired while this request went on.{remedy}") from None

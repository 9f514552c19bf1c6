"""How long streams go on when the token that they were authorised with has expired."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from passerelle.runtime.errors import Unauthenticated


@dataclass(frozen=True, slots=True)
class Grace:
    """How many seconds a stream goes on after its token has expired.

    `sending` is for streams on which the client still sends; `answered` is for those on which it only receives. What
    it receives was allowed when it made the request, but each message that it sends is a new one.
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

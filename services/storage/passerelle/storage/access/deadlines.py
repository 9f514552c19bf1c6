"""Bounds on how long a system may take."""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

from passerelle.runtime.errors import DeadlineExceeded


class ending_in(AbstractAsyncContextManager[None]):
    """Raise DeadlineExceeded in the block after that many seconds.

    A class, since a generator around each call would take longer.
    """

    __slots__ = ("_timeout",)

    def __init__(self, seconds: float) -> None:
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *raised: Any) -> None:
        try:
            await self._timeout.__aexit__(*raised)
        except TimeoutError:
            raise _exceeded() from None
        if isinstance(raised[1], TimeoutError):
            raise _exceeded() from None


def _exceeded() -> DeadlineExceeded:
    return DeadlineExceeded("Command execution timeout limit exceeded.")

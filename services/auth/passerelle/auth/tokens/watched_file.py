"""A file whose content counts, and is read again when it has changed."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Generic, TypeVar

from passerelle.runtime import background

T = TypeVar("T")

log = logging.getLogger(__name__)

_EVERY = 5.0  # seconds between two looks at the file


class WatchedFile(Generic[T]):
    """The content of the file `path`, as `read` makes it of the path; `read` raises ValueError, which names the file.

    A change counts within five seconds. While the changed file cannot be read, what was read before counts, and the log
    says so.
    """

    def __init__(self, path: Path, read: Callable[[Path], T]) -> None:
        self._path = path
        self._read = read
        self._state = self._state_now()
        self.content = read(path)
        """What was read last."""

    @asynccontextmanager
    async def kept_fresh(self) -> AsyncIterator[None]:
        """Read the file again when it has changed, inside the block."""
        async with background.running(self._keep()):
            yield

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            await asyncio.to_thread(self._look)

    def _look(self) -> None:
        state = self._state_now()
        if state == self._state:
            return
        self._state = state
        try:
            self.content = self._read(self._path)
        except ValueError as error:
            log.error("what was read before still counts: %s", error)
        else:
            log.info("read again: %s", self._path)

    def _state_now(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

"""Commands that do not wait for a controller that is down.

The programs of a batch system try for long to reach a controller that is down: with Slurm each takes 10 to 20 s, longer
than a request may take, while `scontrol ping` knows in 0.2 s (measured on 22.05 and 26.05). When the controller hangs,
its ping does not answer either.
"""

import asyncio
import math
import time
from collections.abc import Callable

from passerelle.runtime.command import Command, Shell, T
from passerelle.runtime.errors import ApiError, BackendUnavailable, DeadlineExceeded

_PATIENCE = 1.0  # seconds
_LATELY = 1.0  # seconds


class ControllerShell:
    """A `Shell` that asks whether the controller is there when a command takes longer than `patience` seconds.

    `ping_command` makes the command that asks: it raises BackendUnavailable when no controller is up. `scheduler` is
    the scheduler's name, for messages.
    """

    def __init__(
        self,
        shell: Shell,
        ping_command: Callable[[], Command[str]],
        scheduler: str,
        patience: float = _PATIENCE,
    ) -> None:
        self._shell = shell
        self._ping_command = ping_command
        self._scheduler = scheduler
        self._patience = patience
        self._heard = (
            -math.inf
        )  # when the controller last answered somebody, by the monotonic clock

    async def run(self, command: Command[T]) -> T:
        """See `Shell.run`. Raises BackendUnavailable, and ends the command, when no controller is up or answers."""
        request = asyncio.create_task(self._shell.run(command))
        looking = asyncio.create_task(self._down())
        try:
            await asyncio.wait({request, looking}, return_when=asyncio.FIRST_COMPLETED)
            if not request.done() and (down := looking.result()):
                raise down
            answer = await request
        except DeadlineExceeded:
            if looking.done():
                raise
            raise self._silent() from None
        finally:
            for task in (request, looking):
                task.cancel()
            await asyncio.gather(request, looking, return_exceptions=True)
        self._heard = time.monotonic()
        return answer

    async def ping(self) -> str:
        """The controller's answer to a ping. Raises BackendUnavailable when none is up or answers."""
        try:
            answer = await self._shell.run(self._ping_command())
        except BackendUnavailable:
            self._heard = -math.inf
            raise
        except DeadlineExceeded:
            raise self._silent() from None
        self._heard = time.monotonic()
        return answer

    async def reach(self) -> None:
        """Ping before a command that must not be ended early, unless the controller has answered recently."""
        if time.monotonic() - self._heard > _LATELY:
            await self.ping()

    async def _down(self) -> BackendUnavailable | None:
        """What the controllers' being down means, once patience is at an end; None when one is up, or nobody knows."""
        await asyncio.sleep(self._patience)
        try:
            await self.ping()
        except ApiError as error:
            # its subclasses are about the way there
            return error if type(error) is BackendUnavailable else None
        return None

    def _silent(self) -> BackendUnavailable:
        """The error when not even the ping is answered."""
        self._heard = -math.inf
        return BackendUnavailable(f"{self._scheduler}'s controller does not answer.")

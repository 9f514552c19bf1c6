"""Commands that do not wait for a controller that is down.

With slurmctld down each of Slurm's programs takes 10 to 20 s to say so, longer than a request may take; `scontrol ping`
knows in 0.2 s (measured on 22.05 and 26.05). When slurmctld or munge hangs, ping does not answer either.
"""

import asyncio

from passerelle.compute.schedulers.slurm import commands
from passerelle.runtime.command import Command, Shell, T
from passerelle.runtime.errors import ApiError, BackendUnavailable, DeadlineExceeded

_PATIENCE = 1.0  # seconds


class Watched:
    """A `Shell` that asks whether slurmctld is there when a command takes longer than `patience` seconds."""

    def __init__(self, shell: Shell, patience: float = _PATIENCE) -> None:
        self._shell = shell
        self._patience = patience

    async def run(self, command: Command[T]) -> T:
        """See `Shell.run`. Raises BackendUnavailable, and ends the command, when no controller is up or answers."""
        asked = asyncio.create_task(self._shell.run(command))
        looking = asyncio.create_task(self._down())
        try:
            await asyncio.wait({asked, looking}, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done() and (down := looking.result()):
                raise down
            return await asked
        except DeadlineExceeded:
            if looking.done():
                raise
            raise silent() from None
        finally:
            for task in (asked, looking):
                task.cancel()
            await asyncio.gather(asked, looking, return_exceptions=True)

    async def _down(self) -> BackendUnavailable | None:
        """What the controllers' being down means, once patience is at an end; None when one is up, or nobody knows."""
        await asyncio.sleep(self._patience)
        try:
            await self._shell.run(commands.ping_command())
        except ApiError as error:
            # its subclasses are about the way there
            return error if type(error) is BackendUnavailable else None
        return None


def silent() -> BackendUnavailable:
    """The error when nobody answers, not even to say that nobody is there."""
    return BackendUnavailable("Slurm's controller does not answer.")

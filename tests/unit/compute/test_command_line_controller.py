"""A controller that is down is told soon; one that is only slow is waited for."""

import asyncio

import pytest

from passerelle.compute.schedulers.command_line.controller import ControllerShell
from passerelle.compute.schedulers.slurm.site import ping_command
from passerelle.runtime.command import Command, Output, Shell, T
from passerelle.runtime.errors import BackendUnavailable, DeadlineExceeded
from tests.unit.compute.scripted_shell import program

DOWN = Output(1, "notice\nSlurmctld(primary) at head is DOWN\n", "")
UP = Output(0, "Slurmctld(primary) at head is UP\n", "")
QUESTION = Command(("squeue",), str)


def watched(shell: Shell, patience: float) -> ControllerShell:
    return ControllerShell(shell, ping_command, "Slurm", patience)


class Slow:
    """Answers pings at once, and everything else when `gate` is open."""

    def __init__(self, ping: Output) -> None:
        self._ping = ping
        self.gate = asyncio.Event()
        self.called = asyncio.Event()
        self.ended = False

    async def run(self, command: Command[T]) -> T:
        """See `Shell.run`."""
        if program(command.argv) == "scontrol":
            self.called.set()
            return command.result(self._ping)
        try:
            await self.gate.wait()
        finally:
            self.ended = True
        return command.result(Output(0, "answer", ""))


async def test_a_controller_that_is_down_is_told_and_the_command_ended() -> None:
    shell = Slow(DOWN)
    with pytest.raises(BackendUnavailable, match=r"^Slurmctld\(primary\) at head is DOWN$"):
        await watched(shell, 0).run(QUESTION)
    assert shell.ended


@pytest.mark.parametrize(
    "ping", [UP, Output(127, "", "env: 'scontrol': No such file or directory\n")]
)
async def test_a_slow_answer_is_waited_for(ping: Output) -> None:
    shell = Slow(ping)
    answer = asyncio.create_task(watched(shell, 0).run(QUESTION))
    await shell.called.wait()
    shell.gate.set()
    assert await answer == "answer"


async def test_a_quick_answer_needs_no_second_question() -> None:
    shell = Slow(DOWN)
    shell.gate.set()
    assert await watched(shell, 60).run(QUESTION) == "answer"
    assert not shell.called.is_set()


class Hanging:
    """Answers pings when `ping` is open, and is out of time with everything else."""

    def __init__(self) -> None:
        self.ping = asyncio.Event()
        self.called = asyncio.Event()
        self.answered = asyncio.Event()

    async def run(self, command: Command[T]) -> T:
        """See `Shell.run`."""
        if program(command.argv) == "scontrol":
            self.called.set()
            await self.ping.wait()
            self.answered.set()
            return command.result(UP)
        await self.called.wait()
        if self.ping.is_set():
            await self.answered.wait()
            await asyncio.sleep(0)  # whoever pinged hears of it
        raise DeadlineExceeded("late")


async def test_when_nobody_answers_slurm_is_unavailable() -> None:
    with pytest.raises(BackendUnavailable, match="does not answer"):
        await watched(Hanging(), 0).run(QUESTION)


async def test_a_slow_command_of_a_controller_that_answers_is_late() -> None:
    shell = Hanging()
    shell.ping.set()
    with pytest.raises(DeadlineExceeded):
        await watched(shell, 0).run(QUESTION)


async def test_slurmctld_is_not_asked_when_it_has_answered_lately() -> None:
    shell = Slow(DOWN)
    shell.gate.set()
    shell_watched = watched(shell, 60)
    with pytest.raises(BackendUnavailable):
        await shell_watched.reach()
    await shell_watched.run(QUESTION)
    await shell_watched.reach()


async def test_what_was_heard_before_slurmctld_went_down_does_not_count() -> None:
    shell = Slow(DOWN)
    shell.gate.set()
    shell_watched = watched(shell, 0)
    await shell_watched.run(QUESTION)
    shell.gate.clear()
    for ask in (lambda: shell_watched.run(QUESTION), shell_watched.reach):
        with pytest.raises(BackendUnavailable):
            await ask()

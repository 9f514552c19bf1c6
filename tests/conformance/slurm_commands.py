"""The present slurm plugin's command for the query of a recording."""

from collections.abc import Callable
from typing import Any

from passerelle.compute.scheduler import JobDescription
from passerelle.compute.schedulers.slurm import commands, site
from passerelle.compute.schedulers.slurm.submission import submit_command
from passerelle.runtime.command import Command
from tests.conformance.recordings import bare, marked

_JOB = "4294000000"  # any one
_MOST_WORDS = 3  # of a caller's choice, at the end of a question

_ABOUT_MANY: tuple[Callable[..., Command[Any]], ...] = (
    commands.queued_command,
    commands.running_steps_command,
    commands.history_command,
)
_ABOUT_ONE: tuple[Callable[[str], Command[Any]], ...] = (
    commands.cancel_command,
    commands.script_command,
    commands.streams_command,
    commands.archived_script_command,
    site.accounts_command,
    lambda job_id: commands.attach_command(job_id, "true"),
)
_ABOUT_ALL: tuple[Callable[[], Command[Any]], ...] = (
    site.nodes_command,
    site.partitions_command,
    site.reservations_command,
    site.ping_command,
)
_SUBMITTED = JobDescription("/tmp", script="#!/bin/sh\n")


def command_of(argv: tuple[str, ...]) -> Command[Any] | None:
    """The plugin's command with these words, but for marks; None where it asks no such thing (any more)."""
    wanted = marked(argv)
    if wanted[:4] == ("bash", "-c", "{program}", "sbatch"):
        return submit_command(_SUBMITTED, "any", print)
    for make in _ABOUT_ALL:
        if marked((command := make()).argv) == wanted:
            return command
    for make_one in _ABOUT_ONE:
        if (about_one := _about_one(make_one, wanted)) is not None:
            return about_one
    for make_many in _ABOUT_MANY:
        for words in range(_MOST_WORDS):
            request = bare(argv)[len(bare(argv)) - words :]
            if marked((command := make_many(*request)).argv) == wanted:
                return command
    return None


def _about_one(make: Callable[[str], Command[Any]], wanted: tuple[str, ...]) -> Command[Any] | None:
    example = marked(make(_JOB).argv)
    if len(example) != len(wanted):
        return None
    at = next(at for at, word in enumerate(example) if _JOB in word)
    before, _, after = example[at].partition(_JOB)
    job_id = wanted[at].removeprefix(before).removesuffix(after)
    command = make(job_id)
    return command if marked(command.argv) == wanted else None

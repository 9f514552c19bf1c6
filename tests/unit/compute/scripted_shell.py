"""A `Shell` with the answers of Slurm's programs that a test sets: the only fake below the compute service."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from passerelle.compute.schedulers.slurm.job_outputs import (
    HISTORY_FIELDS,
    QUEUE_FIELDS,
    STEP_FIELDS,
)
from passerelle.runtime import caller
from passerelle.runtime.command import Command, Output, T
from tests.conformance.recordings import bare, mark_of

UNKNOWN_JOB = Output(1, "", "slurm_load_jobs error: Invalid job id specified\n")
NOTHING = Output(0, "", "")
UP = Output(0, "Slurmctld(primary) at n1 is UP\n", "")

Answer = Output | Callable[[str], Output]
"""A program's answer; a function gets the mark that ends each field."""

_QUEUED = {
    "JobArrayID": "7",
    "Name": "job",
    "State": "RUNNING",
    "Reason": "None",
    "exit_code": "0",
    "TimeUsed": "1:05",
    "StartTime": "1000",
    "EndTime": "4600",
    "TimeLimit": "1:00:00",
    "Account": "proj",
    "NumNodes": "1",
    "Cluster": "lab",
    "GroupName": "users",
    "NodeList": "cn01",
    "Partition": "normal",
    "UserName": "alice",
    "WorkDir": "/home/alice",
    "PriorityLong": "1000",
}
_STEP = {"StepID": "7.batch", "StepName": "batch", "TimeUsed": "1:05", "StartTime": "1000"}
_PAST = {
    "JobID": "7",
    "JobName": "job",
    "State": "COMPLETED",
    "Reason": "None",
    "ExitCode": "0:0",
    "ElapsedRaw": "65",
    "Start": "1000",
    "End": "1065",
    "Suspended": "00:00:00",
    "TimelimitRaw": "60",
    "Account": "proj",
    "AllocNodes": "1",
    "Cluster": "lab",
    "Group": "users",
    "NodeList": "cn01",
    "Partition": "normal",
    "User": "alice",
    "WorkDir": "/home/alice",
    "Priority": "1000",
}


def queue(*jobs: dict[str, str]) -> Answer:
    """squeue's answer with these jobs; a field left out is that of a running job 7."""
    return _table(QUEUE_FIELDS, _QUEUED, jobs)


def steps(*records: dict[str, str]) -> Answer:
    """`squeue --steps`'s answer."""
    return _table(STEP_FIELDS, _STEP, records)


def history(*records: dict[str, str]) -> Answer:
    """sacct's answer with these jobs and steps; a field left out is that of a completed job 7."""
    return _table(HISTORY_FIELDS, _PAST, records)


def _table(
    fields: Sequence[str], base: dict[str, str], records: Sequence[dict[str, str]]
) -> Answer:
    def text(mark: str) -> Output:
        rows = ("".join((base | row)[name] + mark for name in fields) for row in records)
        return Output(0, "".join(f"{row}\n" for row in rows), "")

    return text


def program(argv: tuple[str, ...]) -> str:
    """The program a command runs, with `steps` for squeue's other half: `squeue`, `steps`, `sacct`, `sbatch`…"""
    argv = bare(argv)
    if argv[0] in ("bash", "sh"):
        return argv[3] if len(argv) > 3 else "id"
    return "steps" if "--steps" in argv else argv[0]


class ScriptedShell:
    """Answers by program; `programs` are the programs that ran, `commands` the commands, `users` the callers."""

    def __init__(self, **answers: Answer) -> None:
        defaults: dict[str, Answer] = {"squeue": UNKNOWN_JOB, "steps": NOTHING, "scontrol": UP}
        self.answers = defaults | answers
        self.commands: list[Command[Any]] = []
        self.users: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def programs(self) -> list[str]:
        """The programs that were run, sorted: those run together come in no order."""
        return sorted(program(command.argv) for command in self.commands)

    async def run(self, command: Command[T]) -> T:
        """See `Shell.run`. It waits while `gate` is closed."""
        self.commands.append(command)
        self.users.append(caller.current().username)
        answer = self.answers[program(command.argv)]
        await self.gate.wait()
        return command.result(
            answer if isinstance(answer, Output) else answer(mark_of(command.argv))
        )

"""Jobs that move data on a system, submitted through the compute service like anyone else's."""

import asyncio
import posixpath
import re
import shlex
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from passerelle.runtime import audit, caller
from passerelle.runtime.config import System
from passerelle.runtime.errors import ApiError, FailedPrecondition, Field, InvalidArgument

_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,254}", re.ASCII)
_NO_WORK_DIR = "System {} has no filesystem marked `default_work_dir`, where transfer jobs work."


@dataclass(frozen=True, slots=True)
class SubmittedJob:
    """A transfer job that the scheduler accepted; all paths are absolute, on its system."""

    job_id: str
    system: str
    working_directory: str
    output_log: str
    error_log: str


@dataclass(frozen=True, slots=True)
class ShellWork:
    """Work done by commands of the system: `script` is bash, whose only inputs are words made by `word`."""

    script: str


@dataclass(frozen=True, slots=True)
class AgentWork:
    """Work done by a Python program that is sent along: `source` is made by `shipping.program`.

    `parameters` are JSON that nobody else may see. They reach the program in a file that only the user can read, whose
    path is the program's only argument and which the program removes before it does anything else.
    """

    source: str
    parameters: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class BatchJob:
    """What is handed to the scheduler: a script and where its streams go, all paths absolute; stdin is empty."""

    name: str
    script: str
    working_directory: str
    standard_output: str
    standard_error: str


class Submitter(Protocol):
    """The compute service, as the current caller."""

    async def submit(self, system: str, job: BatchJob) -> str:
        """Submit the job, once; returns its id. Raises what compute answers."""
        ...

    async def default_account(self, system: str) -> str | None:
        """The account that the scheduler charges the caller's jobs to; None where it has none. Raises as `submit`."""
        ...


class Private(Protocol):
    """Files that only the current caller can read."""

    async def put(self, directory: str, name: str, content: Mapping[str, Any]) -> str:
        """Write a new file of JSON; returns its absolute path. Raises FailedPrecondition when the directory
        cannot be used, ConnectionFailed or DeadlineExceeded."""
        ...

    async def discard(self, path: str) -> None:
        """Remove it, if it is still there."""
        ...


class TransferJobs:
    """The transfer jobs of one system."""

    def __init__(self, system: System, compute: Submitter, private: Private) -> None:
        self._system = system
        self._compute = compute
        self._private = private

    async def submit(
        self, name: str, work: ShellWork | AgentWork, account: str | None
    ) -> SubmittedJob:
        """Submit a job of that name; `account` is what the site's directives may want to know.

        Raises InvalidArgument for a missing or malformed account, FailedPrecondition when the working directory cannot
        be used, and what the compute service answers. It is submitted at most once, and leaves no file behind when it
        raises.
        """
        directives = await self._directives(account or None)
        head = "".join(("#!/bin/bash\n", directives, _GREETING % _spaced(name)))
        directory, number = _work_dir(self._system), str(uuid.uuid4())
        if isinstance(work, ShellWork):
            return await self._submit(name, head + work.script, directory, number)
        path = await self._private.put(directory, number, work.parameters)
        try:
            script = head + _agent(work.source, path, f"END-{number}")
            return await self._submit(name, script, directory, number)
        except BaseException:
            await asyncio.shield(asyncio.create_task(self._discard(path)))
            raise

    async def _submit(self, name: str, script: str, directory: str, number: str) -> SubmittedJob:
        # Clients of FirecREST v2 know the logs by these names.
        output = posixpath.join(directory, f".f7t_file_handling_job_{number}.log")
        error = posixpath.join(directory, f".f7t_file_handling_job_error_{number}.log")
        job = BatchJob(name, script, directory, output, error)
        job_id = await self._compute.submit(self._system.name, job)
        audit.note(job_id=job_id)
        return SubmittedJob(job_id, self._system.name, directory, output, error)

    async def _directives(self, account: str | None) -> str:
        """The site's lines for the scheduler, with the account in them: the caller's default one if none is given."""
        lines = self._system.data_operation.datatransfer_jobs_directives
        if any("{account}" in line for line in lines):
            account = account or await self._compute.default_account(self._system.name)
            _check_account(account)
        return "".join(line.replace("{account}", account or "") + "\n" for line in lines)

    async def _discard(self, path: str) -> None:
        with suppress(ApiError):  # what stays is swept later
            await self._private.discard(path)


def word(text: str) -> str:
    """`text` as one word of a bash script: quoted, and without line breaks that sbatch takes for those of DOS."""
    return shlex.quote(text).replace("\r", "'$'\\r''")


# The first line in the log.
_GREETING = 'echo "$(date -u)" "%s Job (id:${SLURM_JOB_ID:-${PBS_JOBID:-unknown}})"\n'


def _spaced(name: str) -> str:
    """`Move Files` for the job name MoveFiles."""
    return re.sub(r"\B(?=[A-Z])", " ", name)


_AGENT = """\
python=$(command -v python3 || echo /usr/libexec/platform-python)
exec "$python" -I -S -B - %s <<'%s'
%s
%s
"""


def _agent(source: str, path: str, end: str) -> str:
    """The script that runs a Python program; `end` is a line that the program does not have."""
    return _AGENT % (word(path), end, source, end)


def _check_account(account: str | None) -> None:
    if account is None:
        raise InvalidArgument("Account parameter is required on this system.")
    if not _ACCOUNT.fullmatch(account):
        wrong = "must be the name of an account: letters, digits and any of _ . @ + -"
        raise InvalidArgument(f"account {wrong}", (Field("body", "account", wrong),))


def _work_dir(system: System) -> str:
    """Where the jobs of the current caller work; FailedPrecondition when the site does not say."""
    pattern = system.data_operation.work_dir
    root = next((found.path for found in system.filesystems if found.default_work_dir), None)
    if root is None and "{filesystem}" in pattern:
        raise FailedPrecondition(_NO_WORK_DIR.format(system.name), system=system.name)
    directory = pattern.replace("{filesystem}", root or "")
    return posixpath.normpath(directory.replace("{user}", caller.current().username))

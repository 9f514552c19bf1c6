"""Jobs that move data on a system, submitted through the compute service like all other jobs."""

import asyncio
import posixpath
import re
import secrets
import shlex
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from passerelle.runtime import caller, log_fields
from passerelle.runtime.config.site import System
from passerelle.runtime.errors import ApiError, FailedPrecondition, Field, InvalidArgument

_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,254}", re.ASCII)
_PART = re.compile(r"\.[0-9a-f]{32}\.passerelle-part")
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
class Leftovers:
    """The remains of a transfer whose job is ended before it can tidy up.

    `part` is the hidden file or directory for arriving content, named by `hidden_part`; empty for a transfer without
    one. `elsewhere` has what the staging method needs to find remains elsewhere, for instance the key of an object. It
    has no secrets, and must not be trusted when it is read again.
    """

    part: str = ""
    elsewhere: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShellWork:
    """Work done by commands of the system: `script` is bash, with arguments quoted by `word`.

    A script that may leave something removes the file `$transfer` when nothing is left: see `AgentWork`.
    """

    script: str
    leftovers: Leftovers = Leftovers()


@dataclass(frozen=True, slots=True)
class AgentWork:
    """Work done by a Python program that is sent along: `source` is made by `shipping.program`.

    `parameters` are JSON, and secret. The program reads them from a file that only the user can read; its path is the
    program's only argument. The program removes the file when nothing has to be tidied up any more. Until then the
    file lists the remains, see `private_files`.
    """

    source: str
    parameters: Mapping[str, Any] = field(repr=False)
    leftovers: Leftovers = Leftovers()


@dataclass(frozen=True, slots=True)
class BatchJob:
    """A job for the scheduler: a script and the absolute paths of its output streams; stdin is empty."""

    name: str
    script: str
    working_directory: str
    standard_output: str
    standard_error: str


class Submitter(Protocol):
    """The compute service, as the current caller."""

    async def submit(self, system: str, job: BatchJob) -> str:
        """Submit the job, once; its id. Raises compute's error."""
        ...

    async def default_account(self, system: str) -> str | None:
        """The account that the caller's jobs are charged to by default; None without one. Raises as `submit`."""
        ...

    async def cancel(self, system: str, job_id: str) -> None:
        """End a job. Raises as `submit`."""
        ...


class Private(Protocol):
    """Files that only the current caller can read."""

    async def put(self, directory: str, transfer: str, work: ShellWork | AgentWork) -> str:
        """Write the file of a new transfer; returns its absolute path. Raises FailedPrecondition when the directory
        cannot be used, ConnectionFailed or DeadlineExceeded."""
        ...

    async def record(self, path: str, job_id: str) -> None:
        """Write the job's id to the transfer's file, if that still exists. Raises ApiError."""
        ...

    async def discard(self, path: str) -> None:
        """Remove the file, if it still exists."""
        ...


@dataclass(frozen=True, slots=True)
class TransferJobs:
    """The transfer jobs of one system.

    `job_id_variable` is the environment variable in which the scheduler tells jobs their id.
    """

    system: System
    compute: Submitter
    private: Private
    job_id_variable: str

    async def submit(
        self, name: str, work: ShellWork | AgentWork, account: str | None
    ) -> SubmittedJob:
        """Submit a job of that name, at most once; `account` is inserted into the site's directives.

        Raises InvalidArgument for a missing or malformed account, FailedPrecondition when the working directory cannot
        be used, and the compute service's errors. A failed call leaves no file. When the call is cancelled, the job is
        cancelled, too.
        """
        directives = await self._directives(account or None)
        greeting = _GREETING.format(job=_spaced(name), variable=self.job_id_variable)
        head = f"#!/bin/bash\n{directives}{greeting}"
        directory, number = work_dir(self.system), str(uuid.uuid4())
        log_fields.bind(transfer=number)
        if isinstance(work, ShellWork) and work.leftovers == Leftovers():
            return await self._submit(self._job(name, head + work.script, directory, number))
        path = await self.private.put(directory, number, work)
        head += f"transfer={word(path)}\n"
        job = self._job(name, head + _commands(work, f"END-{number}"), directory, number)
        submitting = asyncio.create_task(self._submit(job))
        try:
            submitted = await asyncio.shield(submitting)
            await self._record(path, submitted.job_id)
        except BaseException:
            await asyncio.shield(asyncio.create_task(self._withdraw(submitting, path)))
            raise
        return submitted

    def _job(self, name: str, script: str, directory: str, number: str) -> BatchJob:
        # Clients of FirecREST v2 know the logs by these names.
        output = posixpath.join(directory, f".f7t_file_handling_job_{number}.log")
        error = posixpath.join(directory, f".f7t_file_handling_job_error_{number}.log")
        return BatchJob(name, script, directory, output, error)

    async def _submit(self, job: BatchJob) -> SubmittedJob:
        job_id = await self.compute.submit(self.system.name, job)
        log_fields.bind(job_id=job_id)
        return SubmittedJob(
            job_id,
            self.system.name,
            job.working_directory,
            job.standard_output,
            job.standard_error,
        )

    async def _directives(self, account: str | None) -> str:
        """The site's scheduler directives with the account filled in: the caller's default one without `account`."""
        lines = self.system.data_operation.datatransfer_jobs_directives
        if any("{account}" in line for line in lines):
            account = account or await self.compute.default_account(self.system.name)
            _check_account(account)
        return "".join(line.replace("{account}", account or "") + "\n" for line in lines)

    async def _record(self, path: str, job_id: str) -> None:
        """Write the job's id to its file, over a new connection if one is lost. Failures are ignored: it is queued."""
        for _ in range(2):
            with suppress(ApiError):
                await self.private.record(path, job_id)
                return

    async def _withdraw(self, submitting: "asyncio.Task[SubmittedJob]", path: str) -> None:
        """Cancel a job whose caller has gone, and remove its file."""
        with suppress(ApiError):  # it was not submitted, or fails without its parameters
            submitted = await submitting
            await self.compute.cancel(self.system.name, submitted.job_id)
        with suppress(ApiError):  # `Tidying` removes the file later
            await self.private.discard(path)


def hidden_part(target: str) -> str:
    """A new hidden path beside `target`, for content that becomes it. `target` is absolute, without a final link."""
    return posixpath.join(posixpath.dirname(target), f".{secrets.token_hex(16)}.passerelle-part")


def is_hidden_part(path: str) -> bool:
    """Whether `hidden_part` can have made that path, so that the file may be removed."""
    return path.startswith("/") and _PART.fullmatch(posixpath.basename(path)) is not None


def word(text: str) -> str:
    """`text` as one word of a bash script: quoted, and without carriage returns: sbatch refuses scripts with
    DOS line breaks."""
    return shlex.quote(text).replace("\r", "'$'\\r''")


# The first line in the log.
_GREETING = 'echo "$(date -u)" "{job} Job (id:${{{variable}:-unknown}})"\n'


def _spaced(name: str) -> str:
    """`Move Files` for the job name MoveFiles."""
    return re.sub(r"\B(?=[A-Z])", " ", name)


# Only builtins of bash: where there is no Python, other programs may be missing, too. The first two lines of the file
# are kept for tidying up; the secrets behind them are removed.
_AGENT = """\
if ! python=$(command -v python3 || command -v /usr/libexec/platform-python); then
    echo "Transfer failed: this node has no Python 3: neither python3 in PATH nor /usr/libexec/platform-python" >&2
    mapfile -n 2 left <"$transfer" && printf %s "${{left[@]}}" >"$transfer"
    exit 1
fi
exec "$python" -I -S -B - "$transfer" <<'{end}'
{source}
{end}
"""


def _commands(work: ShellWork | AgentWork, end: str) -> str:
    """The bash commands that do the work; `end` is a line that occurs in no program."""
    if isinstance(work, ShellWork):
        return work.script
    return _AGENT.format(source=work.source, end=end)


def _check_account(account: str | None) -> None:
    if account is None:
        raise InvalidArgument("Account parameter is required on this system.")
    if not _ACCOUNT.fullmatch(account):
        violation = "must be the name of an account: letters, digits and any of _ . @ + -"
        raise InvalidArgument(f"account {violation}", (Field("body", "account", violation),))


def work_dir(system: System) -> str:
    """The working directory of the current caller's jobs. Raises FailedPrecondition when the site sets none."""
    pattern = system.data_operation.work_dir
    root = next(
        (filesystem.path for filesystem in system.filesystems if filesystem.default_work_dir), None
    )
    if root is None and "{filesystem}" in pattern:
        raise FailedPrecondition(_NO_WORK_DIR.format(system.name), system=system.name)
    directory = pattern.replace("{filesystem}", root or "")
    return posixpath.normpath(directory.replace("{user}", caller.current().username))

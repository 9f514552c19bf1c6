"""The `local` scheduler: batch jobs as detached processes, for a machine that has no batch system.

A job starts at once and runs on the machine that the shell reaches. All state lives on that machine's own disk, in the
user's home: nothing here has to survive for the job to be known, and nothing has to be installed there but Python 3.6
or later. Each operation is one run of one program, whose source travels with the request on stdin (never in argv, which
everybody may read and which holds 128 KiB).

A job may outlive the SSH session that submitted it only where the system lets processes do so; with systemd's
`KillUserProcesses=yes`, users need `loginctl enable-linger`.
"""

import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

from pydantic import Field as Option
from pydantic import field_validator

from passerelle.compute import scheduler as port
from passerelle.runtime import shipping
from passerelle.runtime.command import Command, Output, Shell
from passerelle.runtime.config.addresses import is_loopback
from passerelle.runtime.config.findings import Finding, SectionContext, note
from passerelle.runtime.config.sections import Section
from passerelle.runtime.config.system_trials import programs
from passerelle.runtime.config.trials import SystemLogin, Trial
from passerelle.runtime.errors import (
    ApiError,
    BackendError,
    FailedPrecondition,
    Field,
    InvalidArgument,
    NotFound,
    Unsupported,
)

T = TypeVar("T")

PARTITION = "local"

_REMOTE = f"{__package__}.remote"
_QUERIES = ("exchange", "accounts", "process", "store", "queries")
_SUBMIT = ("exchange", "accounts", "process", "store", "script", "runner", "submit")

# The system's words are Slurm's, because clients look for those.
_STATES = {
    "RUNNING": port.State.RUNNING,
    "COMPLETED": port.State.SUCCEEDED,
    "FAILED": port.State.FAILED,
    "CANCELLED": port.State.CANCELLED,
    "TIMEOUT": port.State.TIMEOUT,
}

_ERRORS: Mapping[str, type[ApiError]] = {
    "not_found": NotFound,
    "precondition": FailedPrecondition,
    "unsupported": Unsupported,
}


class Local(port.Scheduler):
    """The `local` scheduler over a shell. See the port for the methods."""

    class Options(Section):
        """The options of the `local` scheduler."""

        directory: str = "~/.local/state/passerelle/jobs"
        """Where jobs are kept on the system; `~` and `$NAME` are each user's own."""
        default_time_limit: int | None = Option(default=None, gt=0)
        """Time limit of jobs that ask for none, s."""
        kill_wait: float = Option(default=30, ge=0)
        """Between TERM and KILL for a job that is to end, s."""
        keep_days: float = Option(default=30, gt=0)
        """How long ended jobs are remembered, days."""
        python: str = "python3"
        """The Python interpreter on the system, 3.6 or later."""

        @field_validator("directory")
        @classmethod
        def _somewhere(cls, directory: str) -> str:
            if not directory.startswith(("/", "~", "$")):
                raise ValueError("begins with `/`, `~` or `$NAME`")
            return directory

        def findings(self, context: SectionContext) -> Iterator[Finding]:
            """See `Section.findings`."""
            host = context.system.ssh.host if context.system else ""
            here = socket.gethostname().partition(".")[0]
            if not is_loopback(host) and host.partition(".")[0] != here:
                yield note(
                    f"its jobs run on the login node, {host}, as processes; is it one with Slurm?"
                )

        def login_trials(self, login: SystemLogin) -> Iterator[Trial]:
            """See `Section.login_trials`."""
            yield programs(login, ("bash", self.python), (self.python, "--version"))

    def __init__(self, shell: Shell, options: Options) -> None:
        self._shell = shell
        self._options = options
        self._query_program, self._submit_program = _program(_QUERIES), _program(_SUBMIT)

    def is_job_id(self, text: str) -> bool:
        """See `Scheduler.is_job_id`: a number."""
        return text.isascii() and text.isdecimal()

    async def submit(self, job: port.JobDescription) -> str:
        """See `Scheduler.submit`. The job is running when this returns."""
        _check(job)
        request = self._request("submit", {"job": asdict(job)})
        command = self._command(self._submit_program, request, str, repeatable=False)
        return await self._shell.run(command)

    async def jobs(self, wanted: port.JobFilter) -> Sequence[port.Job]:
        """See `Scheduler.jobs`. A user sees no jobs but its own, and no job has an account."""
        if wanted.account:
            return ()
        fields = {"user": wanted.user, "name": wanted.name or None, "window": wanted.window}
        return await self._shell.run(self._query("jobs", _jobs, fields))

    async def job(self, job_id: str) -> Sequence[port.Job]:
        """See `Scheduler.job`."""
        return (await self._shell.run(self._query("job", _job, {"id": job_id})),)

    async def metadata(self, job_id: str) -> port.JobMetadata:
        """See `Scheduler.metadata`."""
        return await self._shell.run(self._query("metadata", _metadata, {"id": job_id}))

    async def attach(self, job_id: str, command: str) -> None:
        """See `Scheduler.attach`. FailedPrecondition when the command fails; what it prints is dropped."""
        fields = {"id": job_id, "command": command}
        status = await self._shell.run(self._query("attach", int, fields, repeatable=False))
        if status:
            raise FailedPrecondition(f"The attached command ended with exit status {status}.")

    async def cancel(self, job_id: str) -> None:
        """See `Scheduler.cancel`. An ended job is left as it is."""
        await self._shell.run(self._query("cancel", _nothing, {"id": job_id}))

    async def nodes(self) -> Sequence[port.Node]:
        """See `Scheduler.nodes`: the one machine, as busy as the user's own jobs make it."""
        return (await self._shell.run(self._query("machine", _node)),)

    async def partitions(self) -> Sequence[port.Partition]:
        """See `Scheduler.partitions`: always one, `local`."""
        node = await self._shell.run(self._query("machine", _node))
        return (port.Partition(PARTITION, "UP", cpus=node.cpus, node_count=1),)

    async def reservations(self) -> Sequence[port.Reservation]:
        """See `Scheduler.reservations`: never any."""
        return ()

    async def user_info(self) -> port.UserInfo:
        """See `Scheduler.user_info`."""
        return await self._shell.run(self._query("user", _user))

    async def ping(self) -> str:
        """See `Scheduler.ping`."""
        return await self._shell.run(self._query("ping", str))

    def _query(
        self,
        operation: str,
        parse: Callable[[Any], T],
        fields: Mapping[str, Any] = MappingProxyType({}),
        *,
        repeatable: bool = True,
    ) -> Command[T]:
        request = self._request(operation, fields)
        return self._command(self._query_program, request, parse, repeatable=repeatable)

    def _request(self, operation: str, fields: Mapping[str, Any]) -> str:
        settings = self._options.model_dump()
        return json.dumps({"operation": operation, "settings": settings, **fields})

    def _command(
        self, program: str, request: str, parse: Callable[[Any], T], *, repeatable: bool
    ) -> Command[T]:
        """One run of a program on the system; `parse` makes a value of the operation's result."""
        return Command(
            # -I -S: nothing of the user's own Python setup, and a third faster to start.
            argv=(self._options.python, "-I", "-S", *shipping.from_input(program)),
            parse=lambda stdout: parse(_result(stdout)),
            stdin=program + request,
            failure=_failure,
            repeatable=repeatable,
            unset=(),  # a login's variables are the job's, too
        )


def _program(modules: tuple[str, ...]) -> str:
    return shipping.program(*(f"{_REMOTE}.{name}" for name in modules))


def _check(job: port.JobDescription) -> None:
    """Raise InvalidArgument for requests that one machine cannot fulfil."""
    if job.partition not in (None, "", PARTITION):
        _refuse("partition", f"Invalid partition: {job.partition}.")
    if job.reservation:
        _refuse("reservation", "The local scheduler has no reservations.")
    if job.constraints:
        _refuse("constraints", "The local scheduler has no node features.")


def _refuse(name: str, message: str) -> NoReturn:
    raise InvalidArgument(message, (Field("body", f"job.{name}", message),))


def _result(stdout: str) -> Any:
    """The result in an answer: its last line, whatever a login script may print before."""
    reply = json.loads(stdout.rstrip("\n").rpartition("\n")[2])
    if "error" not in reply:
        return reply["result"]
    error = reply["error"]
    message, field = error["message"], error["field"]
    if error["kind"] == "invalid":
        _refuse(field, message)
    raise _ERRORS.get(error["kind"], BackendError)(message)


def _failure(output: Output) -> ApiError:
    words = output.stderr.strip().rpartition("\n")[2]
    return BackendError(
        f"The local scheduler's program ended with exit status {output.status}: {words}"
    )


def _nothing(result: Any) -> None:
    return None


def _jobs(records: Any) -> tuple[port.Job, ...]:
    return tuple(_job(record) for record in records)


def _job(record: Any) -> port.Job:
    word = record["word"]
    stopped = word in ("CANCELLED", "TIMEOUT")  # as Slurm has it: the signal is the step's
    state = _STATES.get(word, port.State.UNSPECIFIED)
    code, signal = (0, 0) if stopped else (record["exit"], record["signal"])
    times = {"elapsed": record["elapsed"], "start": record["start"], "end": record["end"]}
    return port.Job(
        id=record["id"],
        name=record["name"],
        status=port.Status(state, word, record["reason"], code, signal),
        time=port.Times(**times, suspended=0, limit=record["limit"]),
        steps=(_step(record, port.Times(**times, suspended=0)),),
        node_count=1,
        cluster=PARTITION,
        group=record["group"],
        nodes=record["host"],
        partition=PARTITION,
        kill_request_user=record["user"] if word == "CANCELLED" else None,
        user=record["user"],
        working_directory=record["directory"],
    )


def _step(record: Any, time: port.Times) -> port.Step:
    word = "CANCELLED" if record["word"] == "TIMEOUT" else record["word"]
    state = _STATES.get(word, port.State.UNSPECIFIED)
    status = port.Status(state, word, None, record["exit"], record["signal"])
    return port.Step(f"{record['id']}.batch", "batch", status, time)


def _metadata(record: Any) -> port.JobMetadata:
    return port.JobMetadata(
        job_id=record["id"],
        script=record["script"],
        standard_input=record["standard_input"],
        standard_output=record["standard_output"],
        standard_error=record["standard_error"],
    )


def _node(machine: Any) -> port.Node:
    busy = min(machine["running"], machine["cpus"])
    full = port.NodeState.ALLOCATED if busy == machine["cpus"] else port.NodeState.MIXED
    state = full if busy else port.NodeState.IDLE
    return port.Node(
        name=machine["name"],
        states=(state.name,),
        state=state,
        cpus=machine["cpus"],
        partitions=(PARTITION,),
        sockets=machine["sockets"],
        cores=machine["cores"],
        threads=machine["threads"],
        cpu_load=machine["load"],
        free_memory=machine["free"],
        memory=machine["memory"],
        allocated_cpus=busy,
        idle_cpus=machine["cpus"] - busy,
        hostname=machine["name"],
    )


def _user(answer: Any) -> port.UserInfo:
    groups = tuple(port.PosixName(str(number), name) for number, name in answer["groups"])
    number, name = answer["user"]
    return port.UserInfo(port.PosixName(str(number), name), groups[0], groups)

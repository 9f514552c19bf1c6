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
from importlib import resources
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

from pydantic import Field as Option
from pydantic import field_validator

from passerelle.compute.scheduler import (
    Job,
    JobDescription,
    JobFilter,
    JobMetadata,
    Node,
    Partition,
    PosixName,
    Reservation,
    State,
    Status,
    Step,
    Times,
    UserInfo,
)
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

_Program = list[tuple[str, str]]  # the full names and sources of its modules, the main one last

PARTITION = "local"

# The request is read whole; the modules in it find each other by their full names, without their packages.
_BOOTSTRAP = """
import json, sys, types
request = json.loads(sys.stdin.buffer.read().decode())
for name, source in request.pop("program"):
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
module.main(request)
""".strip()

_QUERIES = ("exchange", "process", "store", "queries")
_SUBMIT = (
    "exchange",
    "process",
    "store",
    "script",
    "runner",
    "submit",
)

# The system's words are Slurm's, because clients look for those.
_STATES = {
    "RUNNING": State.RUNNING,
    "COMPLETED": State.SUCCEEDED,
    "FAILED": State.FAILED,
    "CANCELLED": State.CANCELLED,
    "TIMEOUT": State.TIMEOUT,
}

_ERRORS: Mapping[str, type[ApiError]] = {
    "not_found": NotFound,
    "precondition": FailedPrecondition,
    "unsupported": Unsupported,
}


class Local:
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
        self._query_program, self._submit_program = _sources(_QUERIES), _sources(_SUBMIT)

    def is_job_id(self, text: str) -> bool:
        """See `Scheduler.is_job_id`: a number."""
        return text.isascii() and text.isdecimal()

    async def submit(self, job: JobDescription) -> str:
        """See `Scheduler.submit`. The job is running when this returns."""
        _check(job)
        request = self._request("submit", self._submit_program, {"job": asdict(job)})
        return await self._shell.run(self._command(request, str, repeatable=False))

    async def jobs(self, wanted: JobFilter) -> Sequence[Job]:
        """See `Scheduler.jobs`. A user sees no jobs but its own, and no job has an account."""
        if wanted.account:
            return ()
        fields = {"user": wanted.user, "name": wanted.name or None, "window": wanted.window}
        return await self._shell.run(self._query("jobs", _jobs, fields))

    async def job(self, job_id: str) -> Sequence[Job]:
        """See `Scheduler.job`."""
        return (await self._shell.run(self._query("job", _job, {"id": job_id})),)

    async def metadata(self, job_id: str) -> JobMetadata:
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

    async def nodes(self) -> Sequence[Node]:
        """See `Scheduler.nodes`: the one machine, as busy as the user's own jobs make it."""
        return (await self._shell.run(self._query("machine", _node)),)

    async def partitions(self) -> Sequence[Partition]:
        """See `Scheduler.partitions`: always one, `local`."""
        node = await self._shell.run(self._query("machine", _node))
        return (Partition(PARTITION, "UP", cpus=node.cpus, node_count=1),)

    async def reservations(self) -> Sequence[Reservation]:
        """See `Scheduler.reservations`: never any."""
        return ()

    async def user_info(self) -> UserInfo:
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
        request = self._request(operation, self._query_program, fields)
        return self._command(request, parse, repeatable=repeatable)

    def _request(self, operation: str, program: _Program, fields: Mapping[str, Any]) -> str:
        settings = self._options.model_dump()
        return json.dumps(
            {"program": program, "operation": operation, "settings": settings, **fields}
        )

    def _command(self, request: str, parse: Callable[[Any], T], *, repeatable: bool) -> Command[T]:
        """One run of a program on the system; `parse` makes a value of the operation's result."""
        return Command(
            # -I -S: nothing of the user's own Python setup, and a third faster to start.
            argv=(self._options.python, "-I", "-S", "-c", _BOOTSTRAP),
            parse=lambda stdout: parse(_result(stdout)),
            stdin=request,
            failure=_failure,
            repeatable=repeatable,
            unset=(),  # a login's variables are the job's, too
        )


def _sources(names: tuple[str, ...]) -> _Program:
    package = f"{__package__}.remote"
    files = resources.files(package)
    return [(f"{package}.{name}", files.joinpath(f"{name}.py").read_text()) for name in names]


def _check(job: JobDescription) -> None:
    """InvalidArgument for what one machine cannot offer."""
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


def _jobs(records: Any) -> tuple[Job, ...]:
    return tuple(_job(record) for record in records)


def _job(record: Any) -> Job:
    word = record["word"]
    stopped = word in ("CANCELLED", "TIMEOUT")  # as Slurm has it: the signal is the step's
    state = _STATES.get(word, State.UNSPECIFIED)
    code, signal = (0, 0) if stopped else (record["exit"], record["signal"])
    times = {"elapsed": record["elapsed"], "start": record["start"], "end": record["end"]}
    return Job(
        id=record["id"],
        name=record["name"],
        status=Status(state, word, record["reason"], code, signal),
        time=Times(**times, suspended=0, limit=record["limit"]),
        steps=(_step(record, Times(**times, suspended=0)),),
        node_count=1,
        cluster=PARTITION,
        group=record["group"],
        nodes=record["host"],
        partition=PARTITION,
        kill_request_user=record["user"] if word == "CANCELLED" else None,
        user=record["user"],
        working_directory=record["directory"],
    )


def _step(record: Any, time: Times) -> Step:
    word = "CANCELLED" if record["word"] == "TIMEOUT" else record["word"]
    state = _STATES.get(word, State.UNSPECIFIED)
    status = Status(state, word, None, record["exit"], record["signal"])
    return Step(f"{record['id']}.batch", "batch", status, time)


def _metadata(record: Any) -> JobMetadata:
    return JobMetadata(
        job_id=record["id"],
        script=record["script"],
        standard_input=record["standard_input"],
        standard_output=record["standard_output"],
        standard_error=record["standard_error"],
    )


def _node(machine: Any) -> Node:
    busy = min(machine["running"], machine["cpus"])
    state = "IDLE" if busy == 0 else "MIXED" if busy < machine["cpus"] else "ALLOCATED"
    return Node(
        name=machine["name"],
        states=(state,),
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


def _user(found: Any) -> UserInfo:
    groups = tuple(PosixName(str(number), name) for number, name in found["groups"])
    number, name = found["user"]
    return UserInfo(PosixName(str(number), name), groups[0], groups)

"""The Scheduler port: the operations of a batch system, and their values.

Times are seconds since the epoch (`int`) or durations in seconds (`int`); None where the scheduler does not tell.
Text in the scheduler's own words is kept as it is. What a scheduler lacks raises `Unsupported`.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from passerelle.runtime.errors import (
    BackendUnavailable,
    Forbidden,
    InvalidArgument,
    Unsupported,
)

F = TypeVar("F", bound=Callable[..., Any])


class ProgramMissing(BackendUnavailable):
    """The system has no such `program` where a command looks for it. Plugins raise it without knowing their system."""

    def __init__(self, program: str, system: str | None = None) -> None:
        where = f"System {system}" if system else "The system"
        super().__init__(f"{where}: {program} is not found in the PATH of a non-interactive login.")
        self.program = program


class Refused(InvalidArgument):
    """The scheduler refuses a job, in its own words. `fields` says where, as `job.account`, as far as they tell."""

    reason = "JOB_REFUSED"


class LimitExceeded(Forbidden):
    """A limit on an account's, or a user's, jobs refuses a job, in the scheduler's own words."""

    reason = "JOB_LIMIT_EXCEEDED"


class State(enum.Enum):
    """The state of a job; the plugins map their scheduler's states to it by a table."""

    UNSPECIFIED = "unspecified"
    PENDING = "pending"
    RUNNING = "running"
    SUSPENDED = "suspended"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"

    @property
    def ended(self) -> bool:
        """Whether a job in this state is over."""
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED, State.TIMEOUT)


@dataclass(frozen=True, slots=True)
class Status:
    """A job's or step's state: ours, the scheduler's word and reason, exit code and signal (0: none)."""

    state: State
    word: str
    reason: str | None = None
    exit_code: int | None = None
    signal: int | None = None


@dataclass(frozen=True, slots=True)
class Times:
    """When a job or step ran: `start` and `end` since the epoch, the others are durations; all in seconds."""

    elapsed: int | None = None
    start: int | None = None
    end: int | None = None
    suspended: int | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a job, such as `77.batch`."""

    id: str
    name: str
    status: Status
    time: Times


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a job, or one task of a job array. `nodes` is in the scheduler's own list format."""

    id: str
    name: str
    status: Status
    time: Times
    steps: tuple[Step, ...] = ()
    account: str | None = None
    node_count: int = 0
    cluster: str = ""
    group: str | None = None
    nodes: str = ""
    partition: str = ""
    kill_request_user: str | None = None
    user: str | None = None
    working_directory: str = ""
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class JobMetadata:
    """A job's script and the absolute paths of its standard streams; None where not to be had."""

    job_id: str
    script: str | None
    standard_input: str | None
    standard_output: str | None
    standard_error: str | None


@dataclass(frozen=True, slots=True)
class JobDescription:
    """What to run. Exactly one of `script` (text) and `script_path` is set; `time_limit` is in seconds."""

    working_directory: str
    name: str | None = None
    account: str | None = None
    reservation: str | None = None
    partition: str | None = None
    constraints: str | None = None
    standard_input: str | None = None
    standard_output: str | None = None
    standard_error: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    time_limit: int | None = None
    script: str | None = field(default=None, repr=False)
    script_path: str | None = None


_TEXTS = (
    *("name", "account", "reservation", "partition", "constraints"),
    *("standard_input", "standard_output", "standard_error"),
)


def optional_texts(request: Any) -> dict[str, str | None]:
    """A request's optional texts of a job, from its attributes of these names; None for empty ones."""
    return {name: getattr(request, name) or None for name in _TEXTS}


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list: of `user` (None: everybody's), `account`, `name`; ended ones up to `window` seconds back."""

    user: str | None = None
    account: str | None = None
    name: str | None = None
    window: int = 24 * 3600


class NodeState(enum.Enum):
    """The state of a node; the plugins map their scheduler's states to it by a table."""

    UNKNOWN = "unknown"
    IDLE = "idle"
    MIXED = "mixed"
    """Some of its CPUs are allocated."""
    ALLOCATED = "allocated"
    BUSY = "busy"
    COMPLETING = "completing"
    RESERVED = "reserved"
    DRAIN = "drain"
    """It takes no new jobs."""
    DOWN = "down"
    OFFLINE = "offline"
    """Down for maintenance."""
    POWERING_DOWN = "powering down"
    POWERING_UP = "powering up"


@dataclass(frozen=True, slots=True)
class Node:
    """One compute node; memory in MiB, `cores` per socket, `threads` per core.

    `state` is ours, `states` are the scheduler's words in upper case, the most important one first.
    """

    name: str
    states: tuple[str, ...]
    cpus: int
    partitions: tuple[str, ...] = ()
    sockets: int | None = None
    cores: int | None = None
    threads: int | None = None
    cpu_load: float | None = None
    free_memory: int | None = None
    memory: int | None = None
    allocated_cpus: int | None = None
    idle_cpus: int | None = None
    features: str | None = None
    address: str | None = None
    hostname: str | None = None
    weight: int | None = None
    state: NodeState = NodeState.UNKNOWN


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition (queue); `state` in the scheduler's own word, such as `UP`."""

    name: str
    state: str
    cpus: int | None = None
    node_count: int | None = None
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Reservation:
    """One reservation; `state` is `active` or `inactive`, times since the epoch in seconds."""

    name: str
    nodes: str
    start: int
    end: int
    features: str | None = None
    state: str | None = None


@dataclass(frozen=True, slots=True)
class PosixName:
    """A user or group: numeric id in decimal, and name."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Account:
    """An account jobs may be charged to."""

    name: str
    is_default: bool


@dataclass(frozen=True, slots=True)
class UserInfo:
    """The caller on the system; `accounts` is None where the scheduler keeps none."""

    user: PosixName
    group: PosixName
    groups: tuple[PosixName, ...]
    accounts: tuple[Account, ...] | None = None


class Sharing(enum.Enum):
    """The callers that an answer of a method of the port may be reused for."""

    SHARED = "shared"
    """For the same user and the same arguments, for a moment."""
    FRESH = "fresh"
    """For no other call."""


def question(sharing: Sharing = Sharing.SHARED) -> Callable[[F], F]:
    """Mark a method of the port that changes nothing. One without the mark ends what its user was answered before."""

    def marked(method: F) -> F:
        vars(method)["sharing"] = sharing
        return method

    return marked


class Scheduler(Protocol):
    """The port. Handlers know only this; every call acts as the current caller.

    A plugin inherits from it; what it does not have, and does not override, is Unsupported.

    An id is opaque to all others than the scheduler. That of an array names all its tasks. A job, or a task of an array
    that has an id of its own, is told by that; tasks that wait together are told as one job, by the array's id.

    A class may also say, in `job_id_variable`, in which environment variable jobs find their id; PASSERELLE_JOB_ID
    otherwise. The logs of transfer jobs begin with it.
    """

    def is_job_id(self, text: str) -> bool:
        """Whether the text has the form of a job id. Nothing is run for any other text."""
        ...

    async def submit(self, job: JobDescription) -> str:
        """Submit and return the job's id; Refused, LimitExceeded or Forbidden when the scheduler does not take it."""
        ...

    @question()
    async def jobs(self, wanted: JobFilter) -> Sequence[Job]:
        """The wanted jobs, oldest id first."""
        ...

    @question()
    async def job(self, job_id: str) -> Sequence[Job]:
        """The job, with all tasks of an array; NotFound when the scheduler does not know it (any more)."""
        ...

    async def cancel(self, job_id: str) -> None:
        """Cancel a job; NotFound, or Forbidden for somebody else's."""
        ...

    async def attach(self, job_id: str, command: str) -> None:
        """Run a command line inside a running job's allocation, to its end."""
        raise Unsupported("This system's scheduler runs no commands in jobs.")

    @question()
    async def metadata(self, job_id: str) -> JobMetadata:
        """The job's script and standard streams; NotFound as `job`."""
        raise Unsupported("This system's scheduler tells of no job's script and streams.")

    @question()
    async def nodes(self) -> Sequence[Node]:
        """All nodes, by name."""
        raise Unsupported("This system's scheduler does not tell of its nodes.")

    @question()
    async def partitions(self) -> Sequence[Partition]:
        """All partitions, hidden ones too."""
        raise Unsupported("This system's scheduler does not tell of its partitions.")

    @question()
    async def reservations(self) -> Sequence[Reservation]:
        """All reservations."""
        raise Unsupported("This system's scheduler does not tell of its reservations.")

    @question()
    async def user_info(self) -> UserInfo:
        """The caller on the system."""
        raise Unsupported("This system's scheduler does not tell of its users.")

    @question(Sharing.FRESH)
    async def ping(self) -> str:
        """One line from the scheduler that shows it is there; BackendUnavailable when it is not."""
        ...

"""FirecREST v2's replies: the domain's values in its JSON shapes; every key is always present."""

from collections.abc import Mapping, Sequence

from typing_extensions import TypedDict

from passerelle.compute.scheduler import (
    Job,
    JobMetadata,
    Node,
    Partition,
    Reservation,
    Status,
    Step,
    Times,
    UserInfo,
)


class StatusReply(TypedDict):
    """The state of a job or task; `state` is the scheduler's."""

    state: str
    stateReason: str | None
    exitCode: int | None
    interruptSignal: int | None


class TimeReply(TypedDict):
    """When it ran: `start` and `end` since the epoch, the others are durations; all in seconds."""

    elapsed: int | None
    start: int | None
    end: int | None
    suspended: int | None
    limit: int | None


class TaskReply(TypedDict):
    """One step of a job."""

    id: str
    name: str
    status: StatusReply
    time: TimeReply


class JobReply(TypedDict):
    """One job."""

    jobId: str
    name: str
    status: StatusReply
    tasks: list[TaskReply] | None
    time: TimeReply
    account: str | None
    allocationNodes: int
    cluster: str
    group: str | None
    nodes: str
    partition: str
    killRequestUser: str | None
    user: str | None
    workingDirectory: str
    priority: int | None


class JobsReply(TypedDict):
    """Jobs."""

    jobs: list[JobReply] | None


class SubmittedReply(TypedDict):
    """A job that was accepted."""

    jobId: str | None


class MetadataReply(TypedDict):
    """A job's script and the absolute paths of its standard streams."""

    jobId: str | None
    script: str | None
    standardInput: str | None
    standardOutput: str | None
    standardError: str | None


class JobsMetadataReply(TypedDict):
    """One job's metadata."""

    jobs: list[MetadataReply] | None


class NodeReply(TypedDict):
    """One compute node; memory in MB."""

    sockets: int | None
    cores: int | None
    threads: int | None
    cpus: int
    cpuLoad: float | None
    freeMemory: int | None
    features: str | list[str] | None
    name: str
    address: str | None
    hostname: str | None
    state: list[str]
    partitions: list[str] | None
    weight: int | None
    allocMemory: int | None
    allocCpus: int | None
    idleCpus: int | None


class NodesReply(TypedDict):
    """Compute nodes."""

    nodes: list[NodeReply]


class PartitionReply(TypedDict):
    """One partition; `partition` is its state."""

    name: str
    cpus: int | None
    totalNodes: int | None
    partition: str | list[str]


class PartitionsReply(TypedDict):
    """Partitions."""

    partitions: list[PartitionReply]


class ReservationReply(TypedDict):
    """One reservation; times since the epoch in seconds."""

    name: str
    nodeList: str
    endTime: int
    startTime: int
    features: str | None
    state: str | None


class ReservationsReply(TypedDict):
    """Reservations."""

    reservations: list[ReservationReply]


class PosixReply(TypedDict):
    """A user or group; `id` in decimal."""

    id: str
    name: str


class GroupReply(PosixReply):
    """A group of the user; `default` for the primary one."""

    default: bool


class AccountReply(TypedDict):
    """An account that jobs may be charged to."""

    name: str
    default: bool


class UserReply(TypedDict):
    """The caller; with the members of FirecREST 2.5 and 2.6."""

    user: PosixReply
    group: PosixReply
    groups: list[GroupReply]
    accounts: list[AccountReply] | None


# What sacct, which FirecREST asks first, says for words that squeue alone has. pyfirecrest since 3.6 takes every word
# with an `F` for the end of a job, because PBS says it so.
_AS_SACCT: Mapping[str, str] = {"CONFIGURING": "RUNNING", "REQUEUE_FED": "PENDING"}


def jobs_reply(jobs: Sequence[Job]) -> JobsReply:
    """Jobs with their tasks."""
    return {"jobs": [_job(job) for job in jobs]}


def _job(job: Job) -> JobReply:
    return {
        "jobId": job.id,
        "name": job.name,
        "status": _status(job.status),
        "tasks": [_task(step) for step in job.steps],
        "time": _time(job.time),
        "account": job.account,
        "allocationNodes": job.node_count,
        "cluster": job.cluster,
        "group": job.group,
        "nodes": job.nodes,
        "partition": job.partition,
        "killRequestUser": job.kill_request_user,
        "user": job.user,
        "workingDirectory": job.working_directory,
        "priority": job.priority,
    }


def _task(step: Step) -> TaskReply:
    return {
        "id": step.id,
        "name": step.name,
        "status": _status(step.status),
        "time": _time(step.time),
    }


def _status(status: Status) -> StatusReply:
    return {
        "state": _AS_SACCT.get(status.word, status.word),
        "stateReason": status.reason,
        "exitCode": status.exit_code,
        "interruptSignal": status.signal,
    }


def _time(time: Times) -> TimeReply:
    return {
        "elapsed": time.elapsed,
        "start": time.start,
        "end": time.end,
        "suspended": time.suspended,
        "limit": time.limit,
    }


def metadata_reply(metadata: JobMetadata) -> MetadataReply:
    """A job's metadata; an unavailable script is an empty one."""
    return {
        "jobId": metadata.job_id,
        "script": metadata.script or "",
        "standardInput": metadata.standard_input,
        "standardOutput": metadata.standard_output,
        "standardError": metadata.standard_error,
    }


def nodes_reply(nodes: Sequence[Node]) -> NodesReply:
    """Nodes; `allocMemory` is the configured memory, as it is in FirecREST."""
    return {"nodes": [_node(node) for node in nodes]}


def _node(node: Node) -> NodeReply:
    return {
        "sockets": node.sockets,
        "cores": node.cores,
        "threads": node.threads,
        "cpus": node.cpus,
        "cpuLoad": node.cpu_load,
        "freeMemory": node.free_memory,
        "features": node.features,
        "name": node.name,
        "address": node.address,
        "hostname": node.hostname,
        "state": [node.state.name],  # FirecREST's words are ours
        "partitions": list(node.partitions),
        "weight": node.weight,
        "allocMemory": node.memory,
        "allocCpus": node.allocated_cpus,
        "idleCpus": node.idle_cpus,
    }


def partition_reply(partition: Partition) -> PartitionReply:
    """A partition."""
    return {
        "name": partition.name,
        "cpus": partition.cpus,
        "totalNodes": partition.node_count,
        "partition": partition.state,
    }


def reservation_reply(reservation: Reservation) -> ReservationReply:
    """A reservation."""
    return {
        "name": reservation.name,
        "nodeList": reservation.nodes,
        "endTime": reservation.end,
        "startTime": reservation.start,
        "features": reservation.features,
        "state": reservation.state,
    }


def user_reply(user: UserInfo) -> UserReply:
    """The caller on a system."""
    accounts = user.accounts
    return {
        "user": {"id": user.user.id, "name": user.user.name},
        "group": {"id": user.group.id, "name": user.group.name},
        "groups": [
            {"id": group.id, "name": group.name, "default": group.id == user.group.id}
            for group in user.groups
        ],
        "accounts": None
        if accounts is None
        else [{"name": account.name, "default": account.is_default} for account in accounts],
    }

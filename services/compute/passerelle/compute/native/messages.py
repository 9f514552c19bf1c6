"""The domain's values as messages of the native API."""

from dataclasses import asdict

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from passerelle.compute.scheduler import (
    Job,
    JobDescription,
    JobMetadata,
    Node,
    Partition,
    PosixName,
    Reservation,
    State,
    Step,
    UserInfo,
)
from passerelle.v1 import compute_pb2 as pb

_STATES = {
    State.UNSPECIFIED: pb.Job.STATE_UNSPECIFIED,
    State.PENDING: pb.Job.PENDING,
    State.RUNNING: pb.Job.RUNNING,
    State.SUSPENDED: pb.Job.SUSPENDED,
    State.SUCCEEDED: pb.Job.SUCCEEDED,
    State.FAILED: pb.Job.FAILED,
    State.CANCELLED: pb.Job.CANCELLED,
    State.TIMEOUT: pb.Job.TIMEOUT,
}


def submitted_message(job_id: str, user: str, job: JobDescription) -> pb.Job:
    """A job as it was submitted: the fields that are known without asking the scheduler again."""
    return pb.Job(
        job_id=job_id,
        user=user,
        name=job.name or "",
        account=job.account or "",
        partition=job.partition or "",
        working_directory=job.working_directory,
        time_limit=_duration(job.time_limit),
    )


def job_message(job: Job) -> pb.Job:
    """A job with its steps."""
    return pb.Job(
        job_id=job.id,
        name=job.name,
        state=_STATES[job.status.state],
        scheduler_state=job.status.word,
        state_reason=job.status.reason or "",
        exit_code=job.status.exit_code if job.status.state.ended else None,
        signal=job.status.signal if job.status.state.ended else None,
        account=job.account or "",
        user=job.user or "",
        group=job.group or "",
        partition=job.partition,
        node_list=job.nodes,
        node_count=job.node_count,
        working_directory=job.working_directory,
        start_time=_timestamp(job.time.start),
        end_time=_timestamp(job.time.end),
        elapsed=_duration(job.time.elapsed),
        time_limit=_duration(job.time.limit),
        steps=[_step(step) for step in job.steps],
        priority=job.priority,
    )


def _step(step: Step) -> pb.Job.Step:
    return pb.Job.Step(
        step_id=step.id,
        name=step.name,
        state=_STATES[step.status.state],
        exit_code=step.status.exit_code if step.status.state.ended else None,
        signal=step.status.signal if step.status.state.ended else None,
        start_time=_timestamp(step.time.start),
        end_time=_timestamp(step.time.end),
    )


def metadata_message(metadata: JobMetadata) -> pb.JobMetadata:
    """A job's script and standard streams."""
    return pb.JobMetadata(**asdict(metadata))  # whose fields have the same names


def node_message(node: Node) -> pb.Node:
    """A compute node."""
    return pb.Node(
        name=node.name,
        states=node.states,
        partitions=node.partitions,
        cpu_count=node.cpus,
        allocated_cpu_count=node.allocated_cpus,
        idle_cpu_count=node.idle_cpus,
        cpu_load=node.cpu_load,
        memory_mib=node.memory,
        free_memory_mib=node.free_memory,
        socket_count=node.sockets,
        cores_per_socket=node.cores,
        threads_per_core=node.threads,
        feature_list=node.features or "",
        address=node.address or "",
        hostname=node.hostname or "",
        weight=node.weight,
    )


def partition_message(partition: Partition) -> pb.Partition:
    """A partition."""
    size = {"cpu_count": partition.cpus, "node_count": partition.node_count}
    return pb.Partition(name=partition.name, state=partition.state, hidden=partition.hidden, **size)


def reservation_message(reservation: Reservation) -> pb.Reservation:
    """A reservation."""
    return pb.Reservation(
        name=reservation.name,
        node_list=reservation.nodes,
        start_time=_timestamp(reservation.start),
        end_time=_timestamp(reservation.end),
        feature_list=reservation.features or "",
        state=reservation.state or "",
    )


def user_message(user: UserInfo) -> pb.UserInfo:
    """The caller on a system."""
    return pb.UserInfo(
        user=_posix_name(user.user),
        group=_posix_name(user.group),
        groups=[_posix_name(group) for group in user.groups],
        accounts=[
            pb.UserInfo.Account(name=account.name, is_default=account.is_default)
            for account in user.accounts or ()
        ],
    )


def _posix_name(name: PosixName) -> pb.UserInfo.PosixName:
    return pb.UserInfo.PosixName(id=name.id, name=name.name)


def _timestamp(seconds: int | None) -> Timestamp | None:
    return None if seconds is None else Timestamp(seconds=seconds)


def _duration(seconds: int | None) -> Duration | None:
    return None if seconds is None else Duration(seconds=seconds)

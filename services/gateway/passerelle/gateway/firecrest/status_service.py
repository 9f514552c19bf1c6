"""FirecREST v2 `/status/systems` and `/status/liveness/`: our configuration in FirecREST's words, secrets never."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NotRequired

from google.api.httpbody_pb2 import HttpBody
from typing_extensions import TypedDict

from passerelle.firecrest.v2 import status_pb2 as pb
from passerelle.firecrest.v2 import status_pb2_grpc as pb_grpc
from passerelle.gateway.directory.checks import checked_services
from passerelle.gateway.directory.systems import Directory, Health, Listed, Rendering
from passerelle.gateway.firecrest.staging import StagingReply, staging_reply
from passerelle.runtime.config.site import (
    DataOperation,
    Filesystem,
    Probing,
    Scheduler,
    Ssh,
    System,
)
from passerelle.runtime.surface import Operation
from passerelle.surfaces.firecrest.replies import json_reply


class SshTimeoutsReply(TypedDict):
    """Seconds."""

    connection: int
    login: int
    commandExecution: int
    idleTimeout: int
    keepAlive: int


class SshReply(TypedDict):
    """How a system is reached."""

    host: str
    port: int
    proxyHost: str | None
    proxyPort: int | None
    maxClients: int
    timeout: SshTimeoutsReply


class SchedulerReply(TypedDict):
    """A system's scheduler; `timeout` in s."""

    type: str
    connectionMode: str | None
    version: str
    apiUrl: str | None
    apiVersion: str | None
    timeout: int


class HealthReply(TypedDict):
    """One health check's newest result; `path` for filesystems only, `latency` in s."""

    serviceType: str
    lastChecked: str | None
    latency: float | None
    healthy: bool
    message: str | None
    path: NotRequired[str]


class ProbeReply(TypedDict):
    """One kind of check; `timeout` in s."""

    timeout: int


class ProbingReply(TypedDict):
    """A health check, and its interval in s."""

    services: dict[str, ProbeReply] | None
    intervalCheck: int


class FilesystemReply(TypedDict):
    """A filesystem of a system."""

    path: str
    dataType: str
    defaultWorkDir: bool


class DataOperationReply(TypedDict):
    """Limits of file operations, in FirecREST's own mixture of spellings; sizes in bytes."""

    datatransfer_jobs_directives: list[str]
    max_ops_file_size: int
    data_transfer: StagingReply | None


class SystemReply(TypedDict):
    """One system."""

    name: str
    ssh: SshReply
    scheduler: SchedulerReply
    servicesHealth: list[HealthReply]
    probing: ProbingReply
    lastHealthCheck: str | None
    fileSystems: list[FilesystemReply]
    dataOperation: DataOperationReply


class SystemsReply(TypedDict):
    """All systems."""

    systems: list[SystemReply]


class LivenessReply(TypedDict):
    """When each system was last checked, and how old the oldest of these checks is, in whole s."""

    healthcheckRuns: dict[str, str]
    lastUpdate: int


OPENAPI = {
    "GetSystems": Operation(replies={200: SystemsReply}),
    "GetLiveness": Operation(replies={200: LivenessReply}),
}


class StatusService(pb_grpc.StatusServiceServicer):
    """Answers from the directory."""

    def __init__(self, directory: Directory) -> None:
        staging = {one.system.name: staging_reply(one.system) for one in directory.all()}

        def reply(systems: Sequence[Listed]) -> HttpBody:
            return json_reply(
                SystemsReply(systems=[_system(one, staging[one.system.name]) for one in systems])
            )

        self._directory = directory
        self._systems = Rendering(directory, reply)

    async def GetSystems(self, request: pb.GetSystemsRequest, context: Any) -> HttpBody:
        """All systems."""
        return self._systems.newest()

    async def GetLiveness(self, request: pb.GetLivenessRequest, context: Any) -> HttpBody:
        """How old the health checks are."""
        return json_reply(_liveness(self._directory, datetime.now(UTC)))


def _liveness(directory: Directory, now: datetime) -> LivenessReply:
    runs = {one.system.name: one.last_check for one in directory.all() if one.last_check}
    age = (now - min(runs.values())).total_seconds() if runs else 0
    return LivenessReply(
        healthcheckRuns={name: _time(run) for name, run in runs.items()}, lastUpdate=int(age)
    )


def _system(listed: Listed, staging: StagingReply | None) -> SystemReply:
    system = listed.system
    return SystemReply(
        name=system.name,
        ssh=_ssh(system.ssh),
        scheduler=_scheduler(system.scheduler),
        servicesHealth=[_health(health) for health in listed.health],
        probing=_probing(system),
        lastHealthCheck=_time(listed.last_check) if listed.last_check else None,
        fileSystems=[_filesystem(filesystem) for filesystem in system.filesystems],
        dataOperation=_data_operation(system.data_operation, staging),
    )


def _ssh(ssh: Ssh) -> SshReply:
    timeout = SshTimeoutsReply(
        connection=math.ceil(ssh.timeout.connection),
        login=math.ceil(ssh.timeout.login),
        commandExecution=math.ceil(ssh.timeout.command),
        idleTimeout=math.ceil(ssh.timeout.idle),
        keepAlive=math.ceil(ssh.timeout.keep_alive),
    )
    return SshReply(
        host=ssh.host,
        port=ssh.port,
        proxyHost=ssh.proxy_host,
        proxyPort=ssh.proxy_port if ssh.proxy_host else None,
        maxClients=ssh.max_connections,
        timeout=timeout,
    )


def _scheduler(scheduler: Scheduler) -> SchedulerReply:
    return SchedulerReply(
        type=scheduler.type,
        connectionMode="ssh",
        version=scheduler.version,
        apiUrl=None,
        apiVersion=None,
        timeout=math.ceil(scheduler.timeout),
    )


def _health(health: Health) -> HealthReply:
    reply = HealthReply(
        serviceType=health.service,
        lastChecked=_time(health.checked),
        latency=health.latency,
        healthy=health.healthy,
        message=health.message,
    )
    if health.path is not None:
        reply["path"] = health.path
    return reply


def _probing(system: System) -> ProbingReply:
    probing: Probing = system.probing
    kinds = map(str, checked_services(system))
    each = ProbeReply(timeout=math.ceil(probing.timeout))
    return ProbingReply(
        services=dict.fromkeys(kinds, each) if probing.service_account else None,
        intervalCheck=math.ceil(probing.interval),
    )


def _filesystem(filesystem: Filesystem) -> FilesystemReply:
    return FilesystemReply(
        path=filesystem.path,
        dataType=filesystem.data_type,
        defaultWorkDir=filesystem.default_work_dir,
    )


def _data_operation(operation: DataOperation, staging: StagingReply | None) -> DataOperationReply:
    return DataOperationReply(
        datatransfer_jobs_directives=list(operation.datatransfer_jobs_directives),
        max_ops_file_size=operation.max_ops_file_size,
        data_transfer=staging,
    )


def _time(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds and a `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

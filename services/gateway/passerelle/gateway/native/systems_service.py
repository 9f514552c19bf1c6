"""The native `SystemsService`."""

from typing import Any

from passerelle.gateway.directory.systems import Directory, Health, Listed
from passerelle.runtime.config.site import Filesystem
from passerelle.runtime.paging import page_of
from passerelle.v1 import systems_pb2 as pb
from passerelle.v1 import systems_pb2_grpc as pb_grpc


class SystemsService(pb_grpc.SystemsServiceServicer):
    """Answers from the directory."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def ListSystems(self, request: pb.ListSystemsRequest, context: Any) -> Any:
        """List the systems."""
        page, token = page_of(request, self._directory.all(), lambda listed: listed.system.name)
        return pb.ListSystemsResponse(systems=map(_system, page), next_page_token=token)

    async def GetSystem(self, request: pb.GetSystemRequest, context: Any) -> Any:
        """Return one system."""
        return _system(self._directory.get(request.system))


def _system(listed: Listed) -> pb.System:
    system = listed.system
    return pb.System(
        name=system.name,
        scheduler=system.scheduler.type,
        scheduler_version=system.scheduler.version,
        filesystems=map(_filesystem, system.filesystems),
        health=map(_health, listed.health),
    )


def _filesystem(filesystem: Filesystem) -> pb.Filesystem:
    return pb.Filesystem(
        path=filesystem.path,
        data_type=filesystem.data_type,
        default_work_dir=filesystem.default_work_dir,
    )


def _health(health: Health) -> pb.Health:
    message = pb.Health(
        service=pb.Health.Service.Value(health.service.name),
        path=health.path or "",
        healthy=health.healthy,
        message=health.message or "",
    )
    message.check_time.FromDatetime(health.checked)
    message.latency.FromNanoseconds(round(health.latency * 1e9))
    return message

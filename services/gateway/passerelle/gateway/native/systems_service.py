"""The native `SystemsService`."""

from collections.abc import Mapping, Sequence
from typing import Any

from passerelle.gateway.directory.systems import Directory, Health, Listed, Rendering
from passerelle.runtime.config.site import Filesystem
from passerelle.runtime.paging import page_of
from passerelle.v1 import systems_pb2 as pb
from passerelle.v1 import systems_pb2_grpc as pb_grpc


class SystemsService(pb_grpc.SystemsServiceServicer):
    """Answers from the directory."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._messages = Rendering(directory, _messages)
        self._whole = Rendering(directory, lambda _: self._page(pb.ListSystemsRequest()))

    async def ListSystems(self, request: pb.ListSystemsRequest, context: Any) -> Any:
        """List the systems."""
        if request.page_size or request.page_token:
            return self._page(request)
        return self._whole.newest()

    async def GetSystem(self, request: pb.GetSystemRequest, context: Any) -> Any:
        """Return one system."""
        self._directory.get(request.system)
        return self._messages.newest()[request.system]

    def _page(self, request: pb.ListSystemsRequest) -> pb.ListSystemsResponse:
        messages = list(self._messages.newest().values())
        page, token = page_of(request, messages, lambda system: system.name)
        return pb.ListSystemsResponse(systems=page, next_page_token=token)


def _messages(systems: Sequence[Listed]) -> Mapping[str, pb.System]:
    return {listed.system.name: _system(listed) for listed in systems}


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

"""The kinds of health checks. A new one is a member of `Service`, by the contract's name, and a line of `CHECKS`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from passerelle.runtime.config.site import System
from passerelle.v1 import access_pb2, compute_pb2, storage_pb2


class Service(StrEnum):
    """What a health check is about, in the order in which they are shown.

    The names are those of `Health.Service` in `proto/passerelle/v1/systems.proto`, the values are FirecREST's.
    """

    SCHEDULER = "scheduler"
    SSH = "ssh"
    """No check is about it: SSH works when the system answers any check."""
    FILESYSTEM = "filesystem"


def _one(system: System) -> Sequence[str]:
    return ("",)


def _filesystems(system: System) -> Sequence[str]:
    return [filesystem.path for filesystem in system.filesystems]


@dataclass(frozen=True, slots=True)
class Check:
    """One kind of check: a method of one of our services that looks at a system.

    Its request has the field `system`, and `path` where the check is about paths. Its reply has a `message`, which may
    be empty. `passerelle config check` prints `success` when the check succeeds, and `advice` when it fails.
    """

    service: Service
    method: MethodDescriptor
    success: str
    advice: str
    paths: Callable[[System], Sequence[str]] = _one
    """The paths that are looked at, each by a check of its own; one empty path where it is about none."""

    @property
    def served_by(self) -> str:
        """The process that has the method: `compute` or `storage`."""
        options = self.method.containing_service.GetOptions()
        return str(options.Extensions[access_pb2.served_by])

    @property
    def rpc(self) -> str:
        """The method's path over gRPC."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    def request(self, system: str, path: str) -> Any:
        """The request about one system, and a path where there is one."""
        fields = {"system": system} | ({"path": path} if path else {})
        return GetMessageClass(self.method.input_type)(**fields)

    def reply(self, serialized: bytes) -> Any:
        """The reply, parsed."""
        return GetMessageClass(self.method.output_type).FromString(serialized)


_COMPUTE = compute_pb2.DESCRIPTOR.services_by_name["ComputeService"].methods_by_name
_STORAGE = storage_pb2.DESCRIPTOR.services_by_name["StorageService"].methods_by_name

CHECKS = (
    Check(
        Service.SCHEDULER,
        _COMPUTE["PingScheduler"],
        success="answers",
        advice="scheduler.type, and whether it runs",
    ),
    Check(
        Service.FILESYSTEM,
        _STORAGE["PingFilesystem"],
        success="can be looked at",
        advice="filesystems: is it mounted there?",
        paths=_filesystems,
    ),
)
"""All checks of a system."""


def checked_services(system: System) -> Sequence[Service]:
    """What the checks of a system are about."""
    return [Service.SSH, *(check.service for check in CHECKS if check.paths(system))]

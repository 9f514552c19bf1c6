"""The storage service: constructs and connects its parts."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import grpc

from passerelle.firecrest.v2.filesystem_pb2_grpc import add_FilesystemServiceServicer_to_server
from passerelle.firecrest.v2.transfer_pb2_grpc import (
    add_TransferServiceServicer_to_server as add_profile_transfers,
)
from passerelle.runtime.config.plugins import load, make, names
from passerelle.runtime.config.site import Scheduler, SiteBase, System, section
from passerelle.runtime.serving.auth_client import auth_client
from passerelle.runtime.serving.service import running_service
from passerelle.runtime.ssh.pool import SshPool
from passerelle.runtime.surface import surfaces
from passerelle.storage.access.system_access import SystemAccess
from passerelle.storage.commands.plain_commands import PlainCommands
from passerelle.storage.config import StorageSection
from passerelle.storage.files.archives import Archives
from passerelle.storage.files.attributes import Attributes
from passerelle.storage.files.checksums import Checksums
from passerelle.storage.files.downloads import Downloads
from passerelle.storage.files.system_files import SystemFiles
from passerelle.storage.files.tarballs import Tarballs
from passerelle.storage.files.trees import Trees
from passerelle.storage.files.uploads import Uploads
from passerelle.storage.firecrest.filesystem_service import FilesystemContext, FilesystemService
from passerelle.storage.firecrest.transfer_service import TransferContext, TransferProfile
from passerelle.storage.jobs.compute_client import compute_jobs
from passerelle.storage.jobs.port import Submitter, TransferJobs
from passerelle.storage.jobs.private_files import PrivateFiles
from passerelle.storage.native.storage_service import StorageContext, StorageService
from passerelle.storage.native.transfer_service import TransferService
from passerelle.storage.native.upload_service import UploadContext, UploadService
from passerelle.storage.staging.staged import StagedTransfers
from passerelle.storage.staging.tidying import Compute, Tidying
from passerelle.storage.systems import Systems
from passerelle.storage.transfers.by_store import ByStore, Jobs
from passerelle.storage.transfers.copies import CopyContext, Route
from passerelle.storage.transfers.direct import Direct
from passerelle.v1.storage_pb2_grpc import add_StorageServiceServicer_to_server
from passerelle.v1.transfers_pb2_grpc import add_TransferServiceServicer_to_server
from passerelle.v1.uploads_pb2_grpc import add_UploadServiceServicer_to_server


@asynccontextmanager
async def running(site: SiteBase) -> AsyncIterator[int]:
    """The storage service of a site, inside the block; yields its port."""
    settings = section(site, StorageSection)
    async with AsyncExitStack() as stack:
        auth = await stack.enter_async_context(auth_client(site))
        pool = SshPool({system.name: system for system in site.systems}, auth)
        await stack.enter_async_context(pool.sweeping())
        compute = await stack.enter_async_context(compute_jobs(site))
        parts = {
            system.name: parts_of(
                system, SystemAccess(pool, system, settings, PlainCommands), settings, compute
            )
            for system in site.systems
        }
        for each in parts.values():
            stack.push_async_callback(each.staging.close)
        register = partial(register_servicers, parts=parts, compute=compute)
        service = running_service(site, "storage", register, auth)
        yield await stack.enter_async_context(service)


class TransferCompute(Submitter, Compute, Protocol):
    """The compute service, as transfer jobs of one system and their tidying use it."""


@dataclass(frozen=True)
class SystemParts(StorageContext, UploadContext, CopyContext, FilesystemContext, TransferContext):
    """All parts of one system: the context of each servicer, whose class declares what the servicer uses."""


def register_servicers(
    server: grpc.aio.Server, parts: Mapping[str, SystemParts], compute: Jobs
) -> None:
    """Register all servicers at a server; `parts` are by the systems' names."""

    def resume(name: str) -> None:
        parts[name].staging.resume()

    systems = Systems(parts, resume)
    routes: Mapping[str, Route] = {"direct": Direct(), "staged": ByStore(compute)}
    add_StorageServiceServicer_to_server(StorageService(systems), server)
    add_UploadServiceServicer_to_server(UploadService(systems), server)
    add_TransferServiceServicer_to_server(TransferService(systems, routes), server)
    add_FilesystemServiceServicer_to_server(FilesystemService(systems), server)
    add_profile_transfers(TransferProfile(systems), server)
    surfaces().serve("storage", server, parts)


def parts_of(
    system: System, access: SystemAccess, settings: StorageSection, compute: TransferCompute
) -> SystemParts:
    """The parts of a system. Raises ConfigError for a staging method that cannot be constructed."""
    files = SystemFiles(access)
    archives = Archives(access)
    downloads = Downloads(files, archives, settings.download_limits)
    private = PrivateFiles(access, system.name)
    jobs = TransferJobs(system, compute, private, job_id_variable(system.scheduler))
    methods = {
        chosen.type: make(
            f"systems ({system.name}): data_operation.staging ({chosen.type})",
            chosen,
            system,
            files,
            jobs,
        )
        for chosen in system.data_operation.staging
    }
    return SystemParts(
        config=system,
        files=files,
        attributes=Attributes(access),
        checksums=Checksums(access, files),
        uploads=Uploads(access, settings),
        archives=archives,
        downloads=downloads,
        tarballs=Tarballs(access, system.ssh.timeout.command),
        trees=Trees(access),
        jobs=jobs,
        staging=StagedTransfers(
            methods, Tidying(system, files, private, compute, methods.values()), downloads
        ),
    )


def job_id_variable(scheduler: Scheduler) -> str:
    """The environment variable in which jobs find their id: as the scheduler's plugin says, if it is installed here."""
    installed = scheduler.type in names(scheduler.group)
    plugin = load(scheduler.group, scheduler.type) if installed else None
    return getattr(plugin, "job_id_variable", "PASSERELLE_JOB_ID")

"""The storage service: the one place where its parts are put together."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

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
from passerelle.storage.files.system_files import SystemFiles
from passerelle.storage.files.tarballs import Tarballs
from passerelle.storage.files.trees import Trees
from passerelle.storage.files.uploads import Uploads
from passerelle.storage.firecrest.filesystem_service import FilesystemService
from passerelle.storage.firecrest.transfer_service import TransferProfile
from passerelle.storage.jobs.compute_client import ComputeJobs, compute_jobs
from passerelle.storage.jobs.port import TransferJobs
from passerelle.storage.jobs.private_files import PrivateFiles
from passerelle.storage.native.storage_service import StorageService
from passerelle.storage.native.transfer_service import TransferService
from passerelle.storage.native.upload_service import UploadService
from passerelle.storage.places import Place
from passerelle.storage.staging.staged import StagedTransfers
from passerelle.storage.staging.tidying import Tidying
from passerelle.storage.transfers.by_store import ByStore
from passerelle.storage.transfers.copies import Road
from passerelle.storage.transfers.direct import Direct
from passerelle.v1.storage_pb2_grpc import add_StorageServiceServicer_to_server
from passerelle.v1.transfers_pb2_grpc import add_TransferServiceServicer_to_server
from passerelle.v1.uploads_pb2_grpc import add_UploadServiceServicer_to_server

_SERVICES = (
    "passerelle.v1.StorageService",
    "passerelle.v1.TransferService",
    "passerelle.v1.UploadService",
    "passerelle.firecrest.v2.FilesystemService",
    "passerelle.firecrest.v2.TransferService",
)


@asynccontextmanager
async def running(site: SiteBase) -> AsyncIterator[int]:
    """The storage service of a site, inside the block; yields its port."""
    settings = section(site, StorageSection)
    async with AsyncExitStack() as stack:
        auth = await stack.enter_async_context(auth_client(site))
        pool = SshPool({system.name: system for system in site.systems}, auth)
        await stack.enter_async_context(pool.sweeping())
        compute = await stack.enter_async_context(compute_jobs(site))
        places = {
            system.name: _place(
                system, SystemAccess(pool, system, settings, PlainCommands), settings, compute
            )
            for system in site.systems
        }

        for place in places.values():
            stack.push_async_callback(place.staging.close)
        roads: Mapping[str, Road] = {"direct": Direct(), "staged": ByStore(compute)}

        def register(server: grpc.aio.Server) -> None:
            add_StorageServiceServicer_to_server(StorageService(places), server)
            add_UploadServiceServicer_to_server(UploadService(places), server)
            add_FilesystemServiceServicer_to_server(FilesystemService(places), server)
            add_TransferServiceServicer_to_server(TransferService(places, roads), server)
            add_profile_transfers(TransferProfile(places), server)
            surfaces().serve("storage", server, places)

        service = running_service(site, "storage", register, _SERVICES, auth)
        yield await stack.enter_async_context(service)


def _place(
    system: System, access: SystemAccess, settings: StorageSection, compute: ComputeJobs
) -> Place:
    """A system with all that is done on it; ConfigError for a staging method that cannot be made."""
    files = SystemFiles(access)
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
    return Place(
        system=system,
        files=files,
        attributes=Attributes(access),
        checksums=Checksums(access, files),
        uploads=Uploads(access, settings),
        archives=Archives(access),
        tarballs=Tarballs(access, system.ssh.timeout.command),
        trees=Trees(access),
        jobs=jobs,
        staging=StagedTransfers(
            methods, Tidying(system, files, private, compute, methods.values())
        ),
    )


def job_id_variable(scheduler: Scheduler) -> str:
    """The environment variable in which jobs find their id: as the scheduler's plugin says, if it is installed here."""
    installed = scheduler.type in names(scheduler.group)
    plugin = load(scheduler.group, scheduler.type) if installed else None
    return getattr(plugin, "job_id_variable", "PASSERELLE_JOB_ID")

"""The storage service: the one place where its parts are put together."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc

from passerelle.firecrest.v2.filesystem_pb2_grpc import add_FilesystemServiceServicer_to_server
from passerelle.runtime.auth_client import auth_client
from passerelle.runtime.config import SiteBase, section
from passerelle.runtime.service import running_service
from passerelle.runtime.ssh.pool import SshPool
from passerelle.storage.config import StorageSection
from passerelle.storage.firecrest import FilesystemService
from passerelle.storage.places import Place
from passerelle.storage.server import StorageService
from passerelle.storage.sessions import Sessions
from passerelle.storage.system_files import SystemFiles
from passerelle.v1.storage_pb2_grpc import add_StorageServiceServicer_to_server

_SERVICES = ("passerelle.v1.StorageService", "passerelle.firecrest.v2.FilesystemService")


@asynccontextmanager
async def running(site: SiteBase) -> AsyncIterator[int]:
    """The storage service of a site, inside the block; yields its port."""
    settings = section(site, StorageSection)
    async with AsyncExitStack() as stack:
        auth = await stack.enter_async_context(auth_client(site))
        pool = SshPool({system.name: system for system in site.systems}, auth)
        await stack.enter_async_context(pool.sweeping())
        places = {
            system.name: Place(system, SystemFiles(Sessions(pool, system, settings)))
            for system in site.systems
        }

        def register(server: grpc.aio.Server) -> None:
            add_StorageServiceServicer_to_server(StorageService(places), server)
            add_FilesystemServiceServicer_to_server(FilesystemService(places), server)

        service = running_service(site, "storage", register, _SERVICES, auth)
        yield await stack.enter_async_context(service)

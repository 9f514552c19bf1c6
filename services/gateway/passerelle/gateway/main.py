"""The gateway's own process: the directory of systems and its health checks. Envoy is another process beside it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from passerelle.firecrest.v2 import status_pb2_grpc
from passerelle.gateway.directory.health import SystemChecks
from passerelle.gateway.directory.probe import grpc_probe
from passerelle.gateway.directory.systems import Directory
from passerelle.gateway.firecrest.status_service import StatusService
from passerelle.gateway.native.systems_service import SystemsService
from passerelle.runtime.config.site import SiteBase
from passerelle.runtime.serving.auth_client import auth_client
from passerelle.runtime.serving.service import running_service
from passerelle.runtime.surface import surfaces
from passerelle.v1 import systems_pb2_grpc


@asynccontextmanager
async def running(site: SiteBase) -> AsyncIterator[int]:
    """The whole service, from the site's configuration to an open port, which it yields."""
    directory = Directory(site.systems)

    def register(server: grpc.aio.Server) -> None:
        systems_pb2_grpc.add_SystemsServiceServicer_to_server(SystemsService(directory), server)
        status_pb2_grpc.add_StatusServiceServicer_to_server(StatusService(directory), server)
        surfaces().serve("gateway", server, directory)

    async with (
        auth_client(site) as authority,
        running_service(site, "gateway", register, authority) as port,
        checking(site, directory),
    ):
        yield port


@asynccontextmanager
async def checking(site: SiteBase, directory: Directory) -> AsyncIterator[None]:
    """Run the background checks of every system that has an account for them, inside the block."""
    checked = [system for system in site.systems if system.probing.service_account]
    if not checked:
        yield
        return
    async with grpc_probe(site) as probe:
        checks = [SystemChecks(system, probe, directory) for system in checked]
        tasks = [asyncio.create_task(check.run()) for check in checks]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

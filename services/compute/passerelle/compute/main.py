"""The compute service: constructs and connects its parts."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc

from passerelle.compute.answer_cache import AnswerCache
from passerelle.compute.caching_scheduler import cached
from passerelle.compute.config import ComputeSection
from passerelle.compute.firecrest.compute_service import ComputeProfile
from passerelle.compute.native.compute_service import ComputeService
from passerelle.compute.scheduler import Scheduler
from passerelle.firecrest.v2 import compute_pb2_grpc as profile_grpc
from passerelle.runtime.config.plugins import make
from passerelle.runtime.config.site import SiteBase, System, section
from passerelle.runtime.serving.auth_client import auth_client
from passerelle.runtime.serving.service import running_service
from passerelle.runtime.ssh.pool import SshPool, SystemShell
from passerelle.runtime.surface import surfaces
from passerelle.v1 import compute_pb2_grpc as pb_grpc


@asynccontextmanager
async def running(site: SiteBase) -> AsyncIterator[int]:
    """The running service inside the block; yields its port.

    Raises ConfigError for a scheduler that is not installed, or for options it does not have.
    """
    systems = {system.name: system for system in site.systems}
    cache = AnswerCache(section(site, ComputeSection).cache_seconds)
    async with AsyncExitStack() as stack:
        auth = await stack.enter_async_context(auth_client(site))
        pool = await stack.enter_async_context(SshPool(systems, auth).sweeping())
        schedulers = {
            name: cached(_scheduler(pool, system), name, cache) for name, system in systems.items()
        }

        def register(server: grpc.aio.Server) -> None:
            pb_grpc.add_ComputeServiceServicer_to_server(ComputeService(schedulers), server)
            profile_grpc.add_ComputeServiceServicer_to_server(ComputeProfile(schedulers), server)
            surfaces().serve("compute", server, schedulers)

        yield await stack.enter_async_context(running_service(site, "compute", register, auth))


def _scheduler(pool: SshPool, system: System) -> Scheduler:
    shell = SystemShell(pool, system, timeout=system.scheduler.timeout)
    setting = f"systems ({system.name}): scheduler"
    scheduler: Scheduler = make(setting, system.scheduler, shell)
    return scheduler

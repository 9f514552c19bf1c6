"""The stages around every RPC, over a real gRPC channel: unary, server-streaming and client-streaming alike."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from passerelle.firecrest.v2 import compute_pb2 as f7t
from passerelle.firecrest.v2 import compute_pb2_grpc as f7t_grpc
from passerelle.firecrest.v2 import status_pb2_grpc
from passerelle.runtime import caller, log_fields
from passerelle.runtime.caller import Caller
from passerelle.runtime.errors import Forbidden, NotFound, Overloaded, Unauthenticated
from passerelle.runtime.headers import REST as REST_HEADER
from passerelle.runtime.headers import SERVICE_SECRET
from passerelle.runtime.pipeline.stages import (
    authorise,
    in_time,
    map_errors,
    observe,
)
from passerelle.runtime.serving.server import serving
from passerelle.v1 import (
    auth_pb2,
    auth_pb2_grpc,
    compute_pb2,
    compute_pb2_grpc,
    storage_pb2,
    storage_pb2_grpc,
    transfers_pb2,
    transfers_pb2_grpc,
)
from passerelle.v1.access_pb2 import Access
from tests.grpc_service import channel_to
from tests.log_lines import logged_lines

ALICE = (("authorization", "Bearer alice"),)
REST = (*ALICE, (REST_HEADER, "1"))


class Authority:
    """Takes the token for the user name; nobody may read the system `secret`."""

    async def caller(self, token: str, *, access: Access, system: str) -> Caller:
        if token == "expired":
            raise Unauthenticated("Access token expired")
        if token == "narrow":
            raise Forbidden(f"The access token lacks the scope {access.scope}.", scope=access.scope)
        if system == "secret":
            raise Forbidden(f"No relation {access.relation} on {system}.")
        return Caller(token, token)


class Compute(compute_pb2_grpc.ComputeServiceServicer):
    started: asyncio.Event
    cancelled: asyncio.Event

    async def GetJob(self, request: compute_pb2.GetJobRequest, context: Any) -> Any:
        match request.job_id:
            case "none":
                raise NotFound("No job none.", job="none")
            case "bug":
                raise ZeroDivisionError("secret details")
            case "full":
                raise Overloaded("Too many calls.")
            case "slow":
                self.started.set()
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    self.cancelled.set()
                    raise
        job = compute_pb2.Job(job_id=request.job_id, user=caller.current().username)
        return compute_pb2.GetJobResponse(jobs=[job])


class Storage(storage_pb2_grpc.StorageServiceServicer):
    async def ReadFile(self, request: storage_pb2.ReadFileRequest, context: Any) -> Any:
        yield HttpBody(data=caller.current().username.encode())
        if request.path == "/vanishes":
            raise NotFound("gone")

    async def WriteFile(self, request: AsyncIterator[Any], context: Any) -> Any:
        size = 0
        async for message in request:
            size += len(message.content.data)
        return storage_pb2.WriteFileResponse(path=caller.current().username, size_bytes=size)

    async def WalkFiles(self, request: storage_pb2.WalkFilesRequest, context: Any) -> Any:
        if request.path == "/nothing":
            raise NotFound("gone")
        yield storage_pb2.WalkFilesResponse(files=[storage_pb2.File(name="one")])
        raise NotFound("gone")


class Transfers(transfers_pb2_grpc.TransferServiceServicer):
    async def TransferFile(self, request: transfers_pb2.TransferFileRequest, context: Any) -> Any:
        yield transfers_pb2.TransferProgress(finished=True)


class Profile(f7t_grpc.ComputeServiceServicer):
    async def GetJob(self, request: f7t.JobRequest, context: Any) -> Any:
        raise NotFound("Job nöt found.")


class Status(status_pb2_grpc.StatusServiceServicer):
    async def GetLiveness(self, request: Any, context: Any) -> Any:
        with pytest.raises(LookupError):
            caller.current()
        bound = caller.request_id(), log_fields.logged()
        assert bound == ("", {}), "a call has nothing of an earlier one"
        return HttpBody(data=b"alive")


class Internal(auth_pb2_grpc.AccessServiceServicer):
    async def Authorize(self, request: auth_pb2.AuthorizeRequest, context: Any) -> Any:
        return auth_pb2.Principal(username="internal")


@pytest.fixture
def compute() -> Compute:
    servicer = Compute()  # type: ignore[abstract]  # as a service that lacks methods would be
    servicer.started = asyncio.Event()
    servicer.cancelled = asyncio.Event()
    return servicer


@pytest.fixture
async def channel(compute: Compute) -> AsyncIterator[grpc.aio.Channel]:
    def register(server: grpc.aio.Server) -> None:
        compute_pb2_grpc.add_ComputeServiceServicer_to_server(compute, server)
        storage_pb2_grpc.add_StorageServiceServicer_to_server(Storage(), server)  # type: ignore[abstract]
        transfers_pb2_grpc.add_TransferServiceServicer_to_server(Transfers(), server)  # type: ignore[abstract]
        f7t_grpc.add_ComputeServiceServicer_to_server(Profile(), server)  # type: ignore[abstract]
        status_pb2_grpc.add_StatusServiceServicer_to_server(Status(), server)  # type: ignore[abstract]
        auth_pb2_grpc.add_AccessServiceServicer_to_server(Internal(), server)  # type: ignore[abstract]

    stages = [observe, map_errors, in_time(0.3), authorise(Authority(), "s3cret")]
    async with channel_to(register, stages) as opened:
        yield opened


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def trailers_of(error: grpc.aio.AioRpcError) -> dict[str, str]:
    result: Any = error.trailing_metadata()
    return {key: str(value) for key, value in result}


def get_job(
    channel: grpc.aio.Channel, job_id: str, metadata: Any = ALICE, system: str = "daint"
) -> Any:
    stub = compute_pb2_grpc.ComputeServiceStub(channel)
    request = compute_pb2.GetJobRequest(system=system, job_id=job_id)
    return stub.GetJob(request, metadata=metadata, timeout=5)


async def test_the_caller_is_bound(channel: grpc.aio.Channel) -> None:
    assert (await get_job(channel, "7")).jobs[0].user == "alice"


async def test_a_later_call_has_nothing_of_an_earlier_one(channel: grpc.aio.Channel) -> None:
    await get_job(channel, "7", (*ALICE, ("x-request-id", "r-1")))
    public = raw(channel, "firecrest.v2.StatusService/GetLiveness")
    assert HttpBody.FromString(await public.read()).data == b"alive"


async def test_a_call_is_one_line_of_the_log(channel: grpc.aio.Channel) -> None:
    with logged_lines() as logged:
        await get_job(channel, "7")
        await failure(get_job(channel, "none"))
        async with asyncio.timeout(10):  # a caller may have its error before the line is written
            while not any(line.get("code") == "NOT_FOUND" for line in logged()):
                await asyncio.sleep(0.005)
    lines = [line for line in logged() if line["message"] == "answered"]
    reported = [[line.get(key) for key in ("code", "user", "system", "job_id")] for line in lines]
    assert reported == [["OK", "alice", "daint", "7"], ["NOT_FOUND", "alice", "daint", "none"]]
    assert {line["method"] for line in lines} == {"/passerelle.v1.ComputeService/GetJob"}


async def test_our_own_calls_are_no_lines_of_the_log(
    channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stub = auth_pb2_grpc.AccessServiceStub(channel)
    await stub.Authorize(auth_pb2.AuthorizeRequest(), metadata=((SERVICE_SECRET, "s3cret"),))
    assert "answered" not in caplog.messages


async def test_an_error_carries_its_reason(channel: grpc.aio.Channel) -> None:
    error = await failure(get_job(channel, "none"))
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "No job none.")
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, dict(info.metadata)) == ("NOT_FOUND", {"job": "none"})
    assert "x-error-body" not in trailers_of(error)


async def test_a_bug_is_not_shown(
    channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    error = await failure(get_job(channel, "bug"))
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "Internal error.")
    assert "secret details" in caplog.text


async def test_overload_says_when_to_come_back(channel: grpc.aio.Channel) -> None:
    error = await failure(get_job(channel, "full"))
    assert trailers_of(error)["retry-after"] == "1"


async def test_a_slow_call_is_ended(channel: grpc.aio.Channel, compute: Compute) -> None:
    error = await failure(get_job(channel, "slow"))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert compute.cancelled.is_set()


async def test_a_client_that_goes_away_ends_the_call(
    channel: grpc.aio.Channel, compute: Compute
) -> None:
    call = get_job(channel, "slow")
    await asyncio.wait_for(compute.started.wait(), 5)
    call.cancel()
    await asyncio.wait_for(compute.cancelled.wait(), 5)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ((), "Not authenticated"),
        ((("authorization", "Basic YTpi"),), "Not authenticated"),
        ((("authorization", "Bearer "),), "Not authenticated"),
        ((("authorization", "Bearer expired"),), "Access token expired"),
    ],
)
async def test_without_a_good_token_nothing_runs(
    channel: grpc.aio.Channel, metadata: Any, message: str
) -> None:
    error = await failure(get_job(channel, "7", metadata))
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAUTHENTICATED, message)


def raw(channel: grpc.aio.Channel, method: str, metadata: Any = ()) -> Any:
    """A call of which nothing was sent yet but its headers."""
    opened: Any = channel
    return opened.stream_stream(f"/passerelle.{method}")(metadata=metadata, timeout=5)


@pytest.mark.parametrize(
    "method",
    ["v1.ComputeService/GetJob", "v1.StorageService/ReadFile", "v1.StorageService/WriteFile"],
)
async def test_who_has_no_token_is_turned_away_before_a_message_is_read(
    channel: grpc.aio.Channel, method: str
) -> None:
    error = await failure(raw(channel, method).read())
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    "method",
    ["v1.ComputeService/GetJob", "v1.StorageService/ReadFile", "v1.StorageService/WriteFile"],
)
async def test_a_request_that_does_not_come_is_not_waited_for(
    channel: grpc.aio.Channel, method: str
) -> None:
    error = await failure(raw(channel, method, ALICE).read())
    assert (error.code(), error.details()) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "The request did not arrive in time.",
    )


async def test_an_empty_request_is_not_waited_for(channel: grpc.aio.Channel) -> None:
    public = raw(channel, "firecrest.v2.StatusService/GetLiveness")
    assert HttpBody.FromString(await public.read()).data == b"alive"


async def sent(channel: grpc.aio.Channel, method: str, message: bytes, metadata: Any) -> Any:
    call = raw(channel, method, metadata)
    await call.write(message)
    return await failure(call.read())


@pytest.mark.parametrize(
    ("method", "message", "field"),
    [
        ("v1.ComputeService/GetJob", compute_pb2.GetJobRequest(job_id="~"), "jobId"),
        ("v1.StorageService/ReadFile", storage_pb2.ReadFileRequest(path="/a~"), "path"),
        ("v1.StorageService/WriteFile", storage_pb2.WriteFileRequest(system="~"), "system"),
        (
            "v1.ComputeService/SubmitJob",
            compute_pb2.SubmitJobRequest(job=compute_pb2.JobDescription(name="~")),
            "job.name",
        ),
    ],
)
async def test_text_that_is_not_utf8_is_the_callers_fault(
    channel: grpc.aio.Channel,
    caplog: pytest.LogCaptureFixture,
    method: str,
    message: Any,
    field: str,
) -> None:
    data = message.SerializeToString().replace(b"~", b"\xff")
    error = await sent(channel, method, data, ALICE)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(error)
    assert status is not None
    invalid = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(invalid)
    assert [violation.field for violation in invalid.field_violations] == [field]
    assert "Traceback" not in caplog.text


async def test_bytes_that_are_no_message_are_the_callers_fault(channel: grpc.aio.Channel) -> None:
    error = await sent(channel, "v1.ComputeService/GetJob", b"\xff", ALICE)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    anonymous = await sent(channel, "v1.ComputeService/GetJob", b"\xff", ())
    assert anonymous.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_the_profile_names_the_field_and_its_place(channel: grpc.aio.Channel) -> None:
    message = f7t.JobRequest(system="daint", job_id="~").SerializeToString().replace(b"~", b"\xff")
    method = "firecrest.v2.ComputeService/GetJob"
    trailers = trailers_of(await sent(channel, method, message, REST))
    body = json.loads(trailers["x-error-body"])
    assert (trailers["x-http-code"], body["errorType"], body["user"]) == (
        "400",
        "validation",
        "alice",
    )
    assert [(f["location"], f["name"]) for f in body["data"]["fields"]] == [("path", "jobId")]


async def test_the_scheme_may_be_written_small(channel: grpc.aio.Channel) -> None:
    assert await get_job(channel, "7", (("authorization", "bearer alice"),))


async def test_the_system_of_the_message_counts(channel: grpc.aio.Channel) -> None:
    error = await failure(get_job(channel, "7", system="secret"))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_streams_have_the_same_stages(channel: grpc.aio.Channel) -> None:
    stub = storage_pb2_grpc.StorageServiceStub(channel)
    read = stub.ReadFile(storage_pb2.ReadFileRequest(system="daint"), metadata=ALICE)
    assert [m.data async for m in read] == [b"alice"]
    denied = stub.ReadFile(storage_pb2.ReadFileRequest(system="secret"), metadata=ALICE)
    assert (await failure(denied.read())).code() is grpc.StatusCode.PERMISSION_DENIED
    broken = stub.ReadFile(
        storage_pb2.ReadFileRequest(system="a", path="/vanishes"), metadata=ALICE
    )
    await broken.read()
    assert (await failure(broken.read())).code() is grpc.StatusCode.NOT_FOUND


def walk(channel: grpc.aio.Channel, path: str, metadata: Any) -> Any:
    stub = storage_pb2_grpc.StorageServiceStub(channel)
    request = storage_pb2.WalkFilesRequest(system="daint", path=path)
    return stub.WalkFiles(request, metadata=metadata, timeout=5)


async def test_a_stream_that_breaks_says_why_in_its_last_message(
    channel: grpc.aio.Channel,
) -> None:
    """Over REST the status is sent already; over gRPC the call itself fails."""
    messages = [message async for message in walk(channel, "/some", REST)]
    assert [file.name for file in messages[0].files] == ["one"]
    reported = messages[1].error
    assert (reported.code, reported.reason, reported.message) == (404, "NOT_FOUND", "gone")
    call = walk(channel, "/some", ALICE)
    await call.read()
    assert (await failure(call.read())).code() == grpc.StatusCode.NOT_FOUND


async def test_a_stream_that_never_begins_fails_as_a_whole(channel: grpc.aio.Channel) -> None:
    assert (
        trailers_of(await failure(walk(channel, "/nothing", REST).read()))["x-http-code"] == "404"
    )


@pytest.mark.parametrize(
    ("system", "target", "allowed"),
    [("daint", "eiger", True), ("daint", "secret", False), ("secret", "daint", False)],
)
async def test_every_system_that_a_request_names_is_asked_about(
    channel: grpc.aio.Channel, system: str, target: str, allowed: bool
) -> None:
    stub = transfers_pb2_grpc.TransferServiceStub(channel)
    request = transfers_pb2.TransferFileRequest(system=system, target_system=target)
    call: Any = stub.TransferFile(request, metadata=ALICE, timeout=5)
    if allowed:
        assert (await call.read()).finished
    else:
        assert (await failure(call.read())).code() == grpc.StatusCode.PERMISSION_DENIED


async def test_a_request_stream_is_judged_by_its_first_message(channel: grpc.aio.Channel) -> None:
    stub = storage_pb2_grpc.StorageServiceStub(channel)

    async def pieces(system: str) -> AsyncIterator[storage_pb2.WriteFileRequest]:
        yield storage_pb2.WriteFileRequest(system=system, content=HttpBody(data=b"ab"))
        yield storage_pb2.WriteFileRequest(content=HttpBody(data=b"cd"))

    reply = await stub.WriteFile(pieces("daint"), metadata=ALICE)
    assert (reply.path, reply.size_bytes) == ("alice", 4)
    error = await failure(stub.WriteFile(pieces("secret"), metadata=ALICE))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_an_empty_request_stream_is_no_crash(channel: grpc.aio.Channel) -> None:
    async def nothing() -> AsyncIterator[storage_pb2.WriteFileRequest]:
        return
        yield

    stub = storage_pb2_grpc.StorageServiceStub(channel)
    error = await failure(stub.WriteFile(nothing(), metadata=ALICE))
    assert (error.code(), error.details()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "system must be given",
    )


async def test_all_that_a_request_lacks_is_named(channel: grpc.aio.Channel) -> None:
    error = await failure(get_job(channel, "", system=""))
    assert error.details() == "system must be given; job_id must be given"
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    bad = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(bad)
    assert [violation.field for violation in bad.field_violations] == ["system", "job_id"]


async def test_what_a_request_lacks_is_told_only_to_who_may_ask(channel: grpc.aio.Channel) -> None:
    error = await failure(get_job(channel, "", (("authorization", "Bearer expired"),)))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("request_id", "code"),
    [
        ("", grpc.StatusCode.UNIMPLEMENTED),
        ("F47AC10B-58CC-4372-A567-0E02B2C3D479", grpc.StatusCode.UNIMPLEMENTED),
        ("f47ac10b-58cc-1372-a567-0e02b2c3d479", grpc.StatusCode.INVALID_ARGUMENT),  # version 1
        ("00000000-0000-0000-0000-000000000000", grpc.StatusCode.INVALID_ARGUMENT),
        ("f47ac10b-58cc-4372-a567-0e02b2c3d479\n", grpc.StatusCode.INVALID_ARGUMENT),
        ("mine", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_a_request_id_is_a_uuid4(
    channel: grpc.aio.Channel, request_id: str, code: grpc.StatusCode
) -> None:
    stub = compute_pb2_grpc.ComputeServiceStub(channel)
    request = compute_pb2.CancelJobRequest(system="a", job_id="1", request_id=request_id)
    error = await failure(stub.CancelJob(request, metadata=ALICE))
    assert error.code() is code
    assert (error.details() or "").startswith("request_id must be a UUID4") == (
        code is grpc.StatusCode.INVALID_ARGUMENT
    )


async def test_only_the_first_message_of_a_stream_has_required_fields(
    channel: grpc.aio.Channel,
) -> None:
    async def two() -> AsyncIterator[storage_pb2.WriteFileRequest]:
        yield storage_pb2.WriteFileRequest(system="daint", path="/f", content=HttpBody(data=b"ab"))
        yield storage_pb2.WriteFileRequest(content=HttpBody(data=b"c"))

    stub = storage_pb2_grpc.StorageServiceStub(channel)
    assert (await stub.WriteFile(two(), metadata=ALICE)).size_bytes == 3


async def test_rest_errors_carry_status_and_body(channel: grpc.aio.Channel) -> None:
    error = await failure(get_job(channel, "none", REST))
    trailers = trailers_of(error)
    assert trailers["x-http-code"] == "404"
    assert json.loads(trailers["x-error-body"])["error"]["status"] == "NOT_FOUND"


async def test_the_profile_has_its_own_body(channel: grpc.aio.Channel) -> None:
    stub = f7t_grpc.ComputeServiceStub(channel)
    request = f7t.JobRequest(system="daint", job_id="1")
    trailers = trailers_of(await failure(stub.GetJob(request, metadata=REST)))
    body = json.loads(trailers["x-error-body"])
    assert (body["message"], body["user"]) == ("Job nöt found.", "alice")
    assert trailers["f7t-authusername"] == "alice"


@pytest.mark.parametrize(
    ("authorization", "system", "challenge"),
    [
        (None, "daint", "Bearer"),
        ("Basic YTpi", "daint", "Bearer"),
        ("Bearer ", "daint", "Bearer"),
        ("Bearer expired", "daint", 'Bearer error="invalid_token"'),
        ("Bearer narrow", "daint", 'Bearer error="insufficient_scope", scope="compute.read"'),
        ("Bearer alice", "secret", None),
    ],
)
async def test_a_refusal_says_what_a_token_lacks(
    channel: grpc.aio.Channel, authorization: str | None, system: str, challenge: str | None
) -> None:
    """RFC 6750 §3."""
    shown = () if authorization is None else (("authorization", authorization),)
    error = await failure(get_job(channel, "7", (*shown, (REST_HEADER, "1")), system))
    assert trailers_of(error).get("www-authenticate") == challenge


async def test_an_empty_secret_opens_nothing() -> None:
    def register(server: grpc.aio.Server) -> None:
        auth_pb2_grpc.add_AccessServiceServicer_to_server(Internal(), server)  # type: ignore[abstract]

    stages = [map_errors, in_time(5), authorise(Authority(), "")]
    async with channel_to(register, stages) as channel:
        stub = auth_pb2_grpc.AccessServiceStub(channel)
        for shown in ((), ((SERVICE_SECRET, ""),)):
            error = await failure(stub.Authorize(auth_pb2.AuthorizeRequest(), metadata=shown))
            assert error.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("shown", [(), ((SERVICE_SECRET, "wrong"),), ALICE])
async def test_internal_methods_want_the_service_secret(
    channel: grpc.aio.Channel, shown: Any
) -> None:
    stub = auth_pb2_grpc.AccessServiceStub(channel)
    error = await failure(stub.Authorize(auth_pb2.AuthorizeRequest(), metadata=shown))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    good = await stub.Authorize(auth_pb2.AuthorizeRequest(), metadata=((SERVICE_SECRET, "s3cret"),))
    assert good.username == "internal"


@pytest.mark.parametrize(
    "service",
    [
        "",
        "passerelle.firecrest.v2.ComputeService",
        "passerelle.firecrest.v2.StatusService",
        "passerelle.v1.AccessService",
        "passerelle.v1.ComputeService",
        "passerelle.v1.StorageService",
        "passerelle.v1.TransferService",
    ],
)
async def test_health_knows_all_that_was_added_without_a_token(
    channel: grpc.aio.Channel, service: str
) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    reply = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


async def test_nobody_holds_a_stream_of_health(channel: grpc.aio.Channel) -> None:
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await watch.read()
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("reflect", [False, True])
async def test_reflection_is_for_sites_that_want_it(reflect: bool, compute: Compute) -> None:
    def register(server: grpc.aio.Server) -> None:
        compute_pb2_grpc.add_ComputeServiceServicer_to_server(compute, server)

    async with (
        serving(register, drain=0, reflect=reflect) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo()
        if not reflect:
            assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
            return
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        reply = await call.read()
        assert "passerelle.v1.ComputeService" in str(reply)
        await call.done_writing()


async def test_an_unimplemented_method_says_so(channel: grpc.aio.Channel) -> None:
    stub = compute_pb2_grpc.ComputeServiceStub(channel)
    error = await failure(
        stub.CancelJob(compute_pb2.CancelJobRequest(system="a", job_id="1"), metadata=ALICE)
    )
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED

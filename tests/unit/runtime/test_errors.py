"""Every error has one wire form for gRPC and one for each JSON surface, and keeps its meaning between services."""

import errno
import importlib
import pkgutil
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from jsonschema import Draft202012Validator

import passerelle
from passerelle.runtime import errors
from passerelle.runtime.surface import Surface, surfaces
from passerelle.storage.errors import FileError
from passerelle.surfaces.firecrest import Firecrest
from passerelle.surfaces.native import Native


def every_error() -> list[type[errors.ApiError]]:
    """The class of every error that any module of ours defines: these are imported first."""
    for module in pkgutil.walk_packages(passerelle.__path__, "passerelle."):
        if ".remote" not in module.name:  # those run on the systems
            importlib.import_module(module.name)
    result, waiting = [], [errors.ApiError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith("passerelle."):
            result.append(kind)
    return result


EVERY = every_error()
REGISTERED = [kind for kind in EVERY if errors.registered().get(kind.reason) is kind]
GENERAL = [kind for kind in EVERY if kind.__module__ == errors.__name__]
NATIVE, FIRECREST = Native(), Firecrest()
FIELDS = (
    errors.Field("query", "path", "must be absolute"),
    errors.Field("path", "job_id", "must be a number"),
    errors.Field("body", None, "is missing"),
)


def raised(kind: type[errors.ApiError]) -> errors.ApiError:
    """One of a class, with everything that an error may carry."""
    error = kind.__new__(kind)
    errors.ApiError.__init__(error, "No good: ü.", system="daint", path="/a")
    error.retry_after, error.challenge = 7, 'Bearer error="invalid_token"'
    if isinstance(error, errors.InvalidArgument):
        error.fields = FIELDS
    if isinstance(error, errors.RateLimited):
        error.policy = "client", 12
    return error


def over_grpc(error: errors.ApiError) -> grpc.aio.AioRpcError:
    """What a client sees of an error that a service ends a call with."""
    status, sent = error.status(), grpc.aio.Metadata(*error.trailers)
    return grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), sent, status.details, None)


def over_rest(error: errors.ApiError) -> list[Any]:
    """What the clients of every surface see."""
    return [[one.name, one.answer(error, "alice"), error.headers] for one in surfaces()]


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_an_error_keeps_its_meaning_across_a_service_boundary(kind: type[errors.ApiError]) -> None:
    sent = raised(kind)
    got = errors.from_rpc(over_grpc(sent), "compute")
    assert type(got) is errors.registered()[kind.reason]
    assert isinstance(sent, type(got))
    assert (got.code, got.reason, got.http) == (sent.code, sent.reason, sent.http)
    assert (got.detail, got.metadata, got.headers) == (sent.detail, sent.metadata, sent.headers)
    assert getattr(got, "fields", None) == getattr(sent, "fields", None)
    assert over_rest(got) == over_rest(sent)


@pytest.mark.parametrize("kind", REGISTERED, ids=lambda kind: kind.__name__)
def test_an_error_of_an_unknown_reason_keeps_its_meaning(kind: type[errors.ApiError]) -> None:
    """A service does not import another's domain, and may be of another version."""
    sent = raised(kind)
    sent.reason = "KNOWN_ELSEWHERE"
    got = errors.from_rpc(over_grpc(sent), "compute")
    assert got.__class__ in GENERAL
    assert (got.code, got.reason, got.http) == (kind.code, "KNOWN_ELSEWHERE", kind.http)
    assert (got.retry_after, got.challenge) == (sent.retry_after, sent.challenge)
    assert NATIVE.answer(got, None) == NATIVE.answer(sent, None)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EDQUOT, errno.EIO])
def test_a_file_error_travels_as_what_its_errno_means(number: int) -> None:
    error = FileError("open", "/a", number)
    got = errors.from_rpc(over_grpc(error), "storage")
    assert type(got) is error.meaning
    assert over_rest(got) == over_rest(error)


@pytest.mark.parametrize("surface", [NATIVE, FIRECREST], ids=lambda surface: str(surface.name))
@pytest.mark.parametrize("kind", REGISTERED, ids=lambda kind: kind.__name__)
def test_every_body_is_as_the_openapi_document_says(
    kind: type[errors.ApiError], surface: Surface
) -> None:
    schema = Draft202012Validator(surface.error_schema)
    for user in ("alice", None):
        schema.validate(surface.answer(raised(kind), user).body)
    assert not schema.is_valid({})


def test_an_error_passes_several_services() -> None:
    error = raised(errors.InvalidArgument)
    for service in ("auth", "compute", "storage"):
        error = errors.from_rpc(over_grpc(error), service)
    assert over_rest(error) == over_rest(raised(errors.InvalidArgument))


@pytest.mark.parametrize("kind", REGISTERED, ids=lambda kind: kind.__name__)
def test_an_error_travels_with_its_reason(kind: type[errors.ApiError]) -> None:
    status = raised(kind).proto()
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (kind.reason, errors.DOMAIN)
    assert dict(info.metadata) == {"system": "daint", "path": "/a"}
    assert status.message == "No good: ü."
    assert status.code == kind.code.value[0]


@pytest.mark.parametrize("kind", GENERAL, ids=lambda kind: kind.__name__)
def test_the_drawn_tree_is_true(kind: type[errors.ApiError]) -> None:
    row = next(
        line for line in (errors.__doc__ or "").splitlines() if f" {kind.__name__} " in f" {line} "
    )
    assert kind.code.name in row
    assert str(kind.http) in row


def test_a_reason_is_given_once() -> None:
    with pytest.raises(TypeError, match="FORBIDDEN is that of Forbidden"):
        type("Locked", (errors.ApiError,), {"reason": "FORBIDDEN"})


@pytest.mark.parametrize("stated", [{"http": 423}, {"code": grpc.StatusCode.ABORTED}])
def test_an_error_with_a_status_of_its_own_has_a_reason_of_its_own(stated: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="no reason of its own"):
        type("Locked", (errors.Forbidden,), stated)


def test_the_native_body_lists_wrong_fields() -> None:
    invalid = errors.InvalidArgument("Bad.", (errors.Field("body", "path", "must be absolute"),))
    details = NATIVE.answer(invalid, None).body["error"]["details"]
    assert details[1]["fieldViolations"] == [{"field": "path", "description": "must be absolute"}]
    bad = error_details_pb2.BadRequest()
    assert invalid.proto().details[1].Unpack(bad)
    assert bad.field_violations[0].field == "path"


def test_an_endless_message_keeps_both_ends() -> None:
    """Messages travel in headers, which Envoy and gRPC bound; systems say what is wrong at the end."""
    error = errors.NotFound(
        "stat: " + "x" * 100_000 + ": No such file or directory", path="y" * 100_000
    )
    for text in (error.detail, error.proto().message):
        assert len(text) <= 6000
        assert text.startswith("stat: x")
        assert text.endswith("x: No such file or directory")
    assert error.proto().ByteSize() < 4096


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.AlreadyExists("File exists"), 400),
        (errors.ConnectionFailed("lost"), 424),
        (errors.BackendUnavailable("down"), 503),
        (errors.DeadlineExceeded("slow"), 408),
        (errors.BackendError("odd"), 500),
        (errors.NotFound("none"), 404),
        (errors.Overloaded("full"), 429),
    ],
)
def test_firecrest_has_its_own_statuses(error: errors.ApiError, status: int) -> None:
    assert FIRECREST.answer(error, None).status == status


def test_the_firecrest_body_has_all_five_keys() -> None:
    body = FIRECREST.answer(errors.NotFound("System not found"), None).body
    assert body == {
        "errorType": "error",
        "message": "System not found",
        "causedBy": None,
        "data": None,
        "user": None,
    }


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.BackendUnavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
    ],
)
def test_a_service_that_does_not_answer_is_named(
    code: grpc.StatusCode, kind: type[errors.ApiError]
) -> None:
    dead = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), None, None)
    error = errors.from_rpc(dead, "auth")
    assert type(error) is kind
    assert "auth" in error.detail

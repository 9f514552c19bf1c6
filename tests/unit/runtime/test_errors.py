"""Every error has one wire form for gRPC and one for each JSON surface."""

import grpc
import pytest
from google.rpc import error_details_pb2

from passerelle.runtime import errors, firecrest

ALL = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, errors.ApiError)
]


@pytest.mark.parametrize("kind", ALL)
def test_an_error_travels_with_its_reason(kind: type[errors.ApiError]) -> None:
    status = kind("No good.", system="daint").proto()
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (kind.reason, errors.DOMAIN)
    assert dict(info.metadata) == {"system": "daint"}
    assert status.message == "No good."
    assert status.code == kind.code.value[0]


@pytest.mark.parametrize("kind", ALL)
def test_the_drawn_tree_is_true(kind: type[errors.ApiError]) -> None:
    row = next(
        line for line in (errors.__doc__ or "").splitlines() if f" {kind.__name__} " in f" {line} "
    )
    assert kind.code.name in row
    assert str(kind.http) in row


def test_reasons_are_unique() -> None:
    assert len({kind.reason for kind in ALL}) == len(ALL)


def test_the_native_body_lists_wrong_fields() -> None:
    wrong = errors.InvalidArgument("Bad.", (errors.Field("body", "path", "must be absolute"),))
    details = wrong.json()["error"]["details"]
    assert details[1]["fieldViolations"] == [{"field": "path", "description": "must be absolute"}]
    bad = error_details_pb2.BadRequest()
    assert wrong.proto().details[1].Unpack(bad)
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
        (firecrest.ProfileError(errors.NotFound("x"), status=418), 418),
    ],
)
def test_firecrest_has_its_own_statuses(error: errors.ApiError, status: int) -> None:
    assert firecrest.status_of(error) == status


def test_the_firecrest_body_has_all_five_keys() -> None:
    body = firecrest.body_of(errors.NotFound("System not found"), None)
    assert body == {
        "errorType": "error",
        "message": "System not found",
        "causedBy": None,
        "data": None,
        "user": None,
    }


def test_a_dead_service_is_named() -> None:
    dead = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), None, None
    )
    error = errors.from_rpc(dead, "auth")
    assert isinstance(error, errors.BackendUnavailable)
    assert "auth" in error.detail

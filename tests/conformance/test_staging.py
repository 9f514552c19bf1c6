"""What every registered staging method says of itself in both APIs: a new one is tested by being registered."""

from typing import Any, get_args

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from passerelle_webdav.method import Webdav
from pydantic import BaseModel, ValidationError

from passerelle.runtime.config.plugins import load, names
from passerelle.runtime.config.site import Staging
from passerelle.runtime.errors import InvalidArgument
from passerelle.storage.staging.wire import Instructions, WireForm
from passerelle.v1 import transfers_pb2 as pb

SOME: dict[Any, Any] = {str: "a text", int: 7, str | None: None, tuple[str, ...]: ("a", "b")}
"""A value of each type that members of instructions have."""


WIRES: dict[str, WireForm] = {
    name: load(Staging.group, name).wire for name in names(Staging.group)
} | {
    "webdav": Webdav.wire  # of examples/, which is not installed here
}


@pytest.fixture(params=WIRES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def wire(name: str) -> WireForm:
    return WIRES[name]


def literal_values(model: type[BaseModel], field: str) -> tuple[Any, ...]:
    """The names that a model takes for its own."""
    return get_args(model.model_fields[field].annotation)


def some(model: type[Instructions]) -> Instructions:
    """Instructions with any values."""
    fields = model.model_fields.items()
    return model(**{key: SOME[f.annotation] for key, f in fields if f.is_required()})


def test_it_goes_by_the_name_by_which_it_is_registered(name: str, wire: WireForm) -> None:
    for model in (wire.upload, wire.download, *wire.instructions):
        assert literal_values(model, "transfer_method") == (name,)
    assert literal_values(wire.service, "service_type") == (name,)
    for answered in map(some, wire.instructions):
        assert answered.json_form()["transferMethod"] == name


def test_the_native_api_has_its_instructions(wire: WireForm) -> None:
    for answered in map(some, wire.instructions):
        message = answered.native()
        assert message.WhichOneof("directives")
        assert (message.method, message.HasField("job")) == ("", False)


def test_instructions_are_in_no_log(wire: WireForm) -> None:
    for answered in map(some, wire.instructions):
        assert "a text" not in repr(answered)


def test_both_apis_tell_it_the_same(name: str, wire: WireForm) -> None:
    """A download wants nothing but the file; for an upload the native request has fields, or `parameters`."""
    assert wire.download.from_native(name, pb.StageDownloadRequest()) == wire.download(
        transfer_method=name
    )
    parameters = {"sizeBytes": "7", "wormholeCode": "7-a-b"}
    native = wire.upload.from_native(name, ParseDict(parameters, pb.StageUploadRequest()))
    profile = {"transferMethod": name, "fileSize": 7, "wormholeCode": "7-a-b"}
    assert native == wire.upload.model_validate(profile)


SIZED = [name for name, wire in WIRES.items() if "file_size" in wire.upload.model_fields]


@pytest.mark.parametrize("name", SIZED)
def test_what_is_no_size_is_refused_by_both(name: str) -> None:
    wire = WIRES[name]
    with pytest.raises(InvalidArgument):
        wire.upload.from_native(name, pb.StageUploadRequest(size_bytes=-1))
    with pytest.raises(ValidationError):
        wire.upload.model_validate({"transferMethod": name, "fileSize": -1})


def test_a_method_that_has_no_message_of_its_own_answers_in_parameters() -> None:
    [upload, _] = Webdav.wire.instructions
    message = some(upload).native()
    assert MessageToDict(message) == {"parameters": {"uploadUrl": "a text"}}
    directives = ParseDict({"parameters": {"sha256": "0" * 64}}, pb.StageUploadRequest())
    parameters = Webdav.wire.upload.from_native("webdav", directives)
    assert parameters.model_dump() == {"transfer_method": "webdav", "sha256": "0" * 64}
    invalid = ParseDict({"parameters": {"sha256": 7}}, pb.StageUploadRequest())
    with pytest.raises(InvalidArgument) as refused:
        Webdav.wire.upload.from_native("webdav", invalid)
    assert [field.name for field in refused.value.fields] == ["sha256"]

"""The contracts: every RPC says who may call it, every name is explained, and the generated code is fresh."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from google.api import field_behavior_pb2
from google.api.field_behavior_pb2 import IDENTIFIER, OPTIONAL, OUTPUT_ONLY, REQUIRED
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from passerelle.firecrest.v2 import compute_pb2 as firecrest_compute_pb2
from passerelle.firecrest.v2 import filesystem_pb2, status_pb2
from passerelle.firecrest.v2 import transfer_pb2 as firecrest_transfer_pb2
from passerelle.runtime.pipeline.access import MethodAccess, access_of, contract
from passerelle.runtime.pipeline.request_fields import is_required, is_uuid4
from passerelle.v1 import (  # loading them fills the pool that `access_of` reads
    access_pb2,
    auth_pb2,
    compute_pb2,
    storage_pb2,
    streams_pb2,
    systems_pb2,
    transfers_pb2,
    uploads_pb2,
)

REPO = Path(__file__).parents[2]
CONTRACTS = (
    auth_pb2,
    compute_pb2,
    storage_pb2,
    streams_pb2,
    systems_pb2,
    transfers_pb2,
    uploads_pb2,
    firecrest_compute_pb2,
    filesystem_pb2,
    firecrest_transfer_pb2,
    status_pb2,
)
NATIVE = [file for file in CONTRACTS if file.DESCRIPTOR.package == "passerelle.v1"]
SERVICES = [s for file in CONTRACTS for s in file.DESCRIPTOR.services_by_name.values()]
METHODS = [
    f"/{service.full_name}/{method.name}" for service in SERVICES for method in service.methods
]


def test_every_contract_is_looked_at() -> None:
    result = {path.name for path in (REPO / "proto/passerelle").rglob("*.proto")}
    looked_at = {Path(file.DESCRIPTOR.name).name for file in CONTRACTS} | {
        "access.proto",
        "access_log.proto",
        "external_auth.proto",
        "keys.proto",
    }
    assert result == looked_at


@pytest.mark.parametrize("method", METHODS)
def test_every_rpc_declares_access(method: str) -> None:
    access = access_of(method)
    assert access.audience != access_pb2.Access.AUDIENCE_UNSPECIFIED
    if access.audience != access_pb2.Access.USER:
        assert not access.scope
        assert not access.relation


@pytest.mark.parametrize("method", METHODS)
def test_every_rpc_says_whether_it_changes_something(method: str) -> None:
    """What changes something is audited; who may only read by the contract's scope can start a staging job at most."""
    access = access_of(method)
    assert access.effect != access_pb2.Access.EFFECT_UNSPECIFIED
    reading = access.scope.endswith(".read") and "Download" not in method
    assert not (reading and access.effect == access_pb2.Access.CHANGES)


@pytest.mark.parametrize("method", METHODS)
def test_what_a_change_is_about_can_be_read_from_its_request(method: str) -> None:
    service, name = method.lstrip("/").split("/")
    (only,) = [m for s in SERVICES if s.full_name == service for m in s.methods if m.name == name]
    fields = set(only.input_type.fields_by_name)
    if access_of(method).effect == access_pb2.Access.CHANGES:
        assert "system" in fields
        assert fields & {"job_id", "path", "body", "job"} or name == "IssueSshCredential"


def test_an_undeclared_rpc_is_found() -> None:
    assert health_pb2.DESCRIPTOR  # loaded, so that the pool knows the service
    with pytest.raises(LookupError, match="declares no access"):
        access_of("/grpc.health.v1.Health/Check")


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.full_name)
def test_every_service_says_which_process_serves_it(service: object) -> None:
    options = service.GetOptions()  # type: ignore[attr-defined]
    assert options.Extensions[access_pb2.served_by] in {"auth", "compute", "storage", "gateway"}


def test_a_request_that_names_a_system_demands_a_relation() -> None:
    for service in SERVICES:
        for method in service.methods:
            access = access_of(f"/{service.full_name}/{method.name}")
            if access.audience == access_pb2.Access.USER:
                names_system = "system" in method.input_type.fields_by_name
                assert bool(access.relation) == names_system, method.full_name


def test_every_stream_of_messages_can_say_why_it_ends() -> None:
    for service in SERVICES:
        for method in service.methods:
            answer = method.output_type
            if method.server_streaming and answer.full_name != "google.api.HttpBody":
                error = answer.fields_by_name.get("error")
                assert error is not None, f"{answer.full_name} has no field `error`"
                assert error.message_type.full_name == "passerelle.v1.StreamError"


def test_what_is_demanded_besides_names_a_field() -> None:
    for service in SERVICES:
        for method in service.methods:
            for also in access_of(f"/{service.full_name}/{method.name}").also:
                assert also.relation
                assert also.field in method.input_type.fields_by_name, method.full_name


@pytest.mark.parametrize(
    ("method", "request_", "needed"),
    [
        (
            "ComputeService/GetJob",
            compute_pb2.GetJobRequest(system="daint"),
            [("compute.read", "can_read", "daint")],
        ),
        (
            "TransferService/TransferFile",
            transfers_pb2.TransferFileRequest(system="daint", target_system="eiger"),
            [("storage.write", "can_read", "daint"), ("storage.write", "can_write", "eiger")],
        ),
        ("SystemsService/ListSystems", systems_pb2.ListSystemsRequest(), []),
    ],
)
def test_the_systems_are_read_from_the_message(
    method: str, request_: Message, needed: list[tuple[str, str, str]]
) -> None:
    name = f"/passerelle.v1.{method}"
    access = MethodAccess(access_of(name), contract(name).input_type)
    request = [(one.scope, one.relation, system) for one, system in access.of_systems(request_)]
    assert request == needed


def native_messages() -> Iterator[Descriptor]:
    """Every message of the native API that carries what a caller sends, or a resource: all but plain responses."""
    waiting = [m for file in NATIVE for m in file.DESCRIPTOR.message_types_by_name.values()]
    while waiting:
        message = waiting.pop()
        waiting += [m for m in message.nested_types if not m.GetOptions().map_entry]
        if not message.name.endswith("Response"):
            yield message


@pytest.mark.parametrize("message", list(native_messages()), ids=lambda message: message.full_name)
def test_every_field_says_how_it_behaves(message: Descriptor) -> None:
    """`google.api.field_behavior` of AIP-203: what a caller must, may and cannot set."""
    for field in message.fields:
        behavior = set(field.GetOptions().Extensions[field_behavior_pb2.field_behavior])
        if message.name.endswith("Request"):
            assert behavior <= {REQUIRED, OPTIONAL}, field.full_name
        assert len(behavior & {REQUIRED, OPTIONAL, OUTPUT_ONLY, IDENTIFIER}) == 1, field.full_name


def test_what_is_required_can_be_missing() -> None:
    """Where zero is a value, a number needs presence: else nobody could tell it from none (AIP-149)."""
    for message in native_messages():
        for field in filter(is_required, message.fields):
            assert field.has_presence or field.type == FieldDescriptor.TYPE_STRING, field.full_name


@pytest.mark.parametrize("method", [method for method in METHODS if "passerelle.v1" in method])
def test_every_write_takes_a_request_id(method: str) -> None:
    """AIP-155. What only reads takes none."""
    access = access_of(method)
    writes = access.effect == access.CHANGES and access.audience == access.USER
    field = contract(method).input_type.fields_by_name.get("request_id")
    assert (field is not None and is_uuid4(field)) == writes


@pytest.mark.parametrize("method", [method for method in METHODS if "passerelle.v1" in method])
def test_every_list_has_pages(method: str) -> None:
    """AIP-158."""
    result = contract(method)
    if result.name.startswith("List"):
        request, answered = result.input_type.fields_by_name, result.output_type.fields_by_name
        assert request["page_size"].type == FieldDescriptor.TYPE_INT32
        assert request["page_token"].type == FieldDescriptor.TYPE_STRING
        assert answered["next_page_token"].type == FieldDescriptor.TYPE_STRING
        assert sum(field.is_repeated for field in answered.values()) == 1


@pytest.mark.parametrize("method", [method for method in METHODS if "passerelle.v1" in method])
def test_only_deleting_answers_with_nothing(method: str) -> None:
    """AIP-135. Any other answer must be able to grow."""
    if contract(method).output_type.full_name == "google.protobuf.Empty":
        assert method.rpartition("/")[2].startswith("Delete")


def test_every_name_is_explained() -> None:
    packed = (files("passerelle.v1") / "descriptors.pb").read_bytes()
    everything = descriptor_pb2.FileDescriptorSet.FromString(packed)
    unexplained = [
        f"{file.name}: {name}"
        for file in everything.file
        if file.name.startswith("passerelle/")
        for name in _unexplained(file)
    ]
    assert not unexplained


def _unexplained(file: descriptor_pb2.FileDescriptorProto) -> list[str]:
    commented = {
        tuple(item.path) for item in file.source_code_info.location if item.leading_comments.strip()
    }
    missing = []

    def check(path: tuple[int, ...], name: str) -> None:
        if path not in commented:
            missing.append(name)

    def message(path: tuple[int, ...], proto: descriptor_pb2.DescriptorProto) -> None:
        if proto.options.map_entry:
            return
        check(path, proto.name)
        for index, field in enumerate(proto.field):
            check((*path, 2, index), f"{proto.name}.{field.name}")
        for index, nested in enumerate(proto.nested_type):
            message((*path, 3, index), nested)
        for index, enum in enumerate(proto.enum_type):
            check((*path, 4, index), f"{proto.name}.{enum.name}")
            for number, value in enumerate(enum.value):
                check((*path, 4, index, 2, number), f"{proto.name}.{value.name}")

    for index, proto in enumerate(file.message_type):
        message((4, index), proto)
    for index, service in enumerate(file.service):
        check((6, index), service.name)
        for number, method in enumerate(service.method):
            check((6, index, 2, number), f"{service.name}.{method.name}")
    return missing


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    subprocess.run([sys.executable, REPO / "proto/generate.py", tmp_path], check=True)
    committed = REPO / "proto/gen"
    fresh = {p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file()}
    there = {
        p.relative_to(committed)
        for p in committed.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    assert fresh == there
    stale = [str(p) for p in fresh if (tmp_path / p).read_bytes() != (committed / p).read_bytes()]
    assert not stale, f"run `make proto`: {stale}"

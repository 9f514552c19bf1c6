"""What clients of the last release rely on, beyond what `buf breaking` compares: REST paths, and what is required."""

from pathlib import Path

from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from passerelle.gateway.contracts import bindings, descriptors
from passerelle.runtime.pipeline.request_fields import is_required

assert annotations_pb2  # so that the options of methods are known

BASELINE = FileDescriptorSet.FromString(
    (Path(__file__).parents[2] / "proto/baseline.binpb").read_bytes()
)


def required(contracts: FileDescriptorSet) -> dict[str, set[str]]:
    """Of each message of ours, by its full name, the fields that must be set."""
    pool = DescriptorPool()
    for file in contracts.file:
        pool.Add(file)
    waiting = [
        message
        for file in contracts.file
        if file.package.startswith("passerelle.")
        for message in pool.FindFileByName(file.name).message_types_by_name.values()
    ]
    fields: dict[str, set[str]] = {}
    while waiting:
        message = waiting.pop()
        waiting += message.nested_types
        fields[message.full_name] = {f.name for f in message.fields if is_required(f)}
    return fields


def rest(contracts: FileDescriptorSet) -> set[tuple[str, str, str, str]]:
    """Every method with each verb, path and body by which REST calls it."""
    return {
        (f"{file.package}.{service.name}.{method.name}", way.verb, way.template, way.body)
        for file in contracts.file
        if file.package.startswith("passerelle.")
        for service in file.service
        for method in service.method
        for way in bindings(method)
    }


def test_there_is_something_to_rely_on() -> None:
    assert len(rest(BASELINE)) > 50
    assert "working_directory" in required(BASELINE)["passerelle.v1.JobDescription"]


def test_every_rest_call_is_still_there() -> None:
    assert rest(BASELINE) <= rest(descriptors())


def test_nothing_more_is_required() -> None:
    before, now = required(BASELINE), required(descriptors())
    assert {name: now.get(name, set()) - before[name] for name in before} == {
        name: set() for name in before
    }

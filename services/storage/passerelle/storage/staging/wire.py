"""The wire forms of staging methods in both APIs: base classes of the models that each method has in its folder.

A method has models of its requests and replies, and one of its entry in `/status/systems`. They are FirecREST's JSON:
members in camelCase, the method's name among them. Over the native API a method reads the fields of the request, and
its `parameters` for members without a field. It replies with a message of its own, or in `parameters`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from google.protobuf.json_format import MessageToDict
from pydantic import ConfigDict

from passerelle.surfaces.firecrest.bodies import Model, validate
from passerelle.v1 import transfers_pb2 as pb

NativeRequest = pb.StageUploadRequest | pb.StageDownloadRequest


class Parameters(Model):
    """The members of a request for a method, besides the file's path and the job's account.

    It is read from FirecREST's `transferDirectives`. Each model has a field `transfer_method` that takes the method's
    name and nothing else; it needs no default, since the native API fills it in.
    """

    transfer_method: str

    @classmethod
    def from_native(cls, method: str, request: NativeRequest) -> Self:
        """The parameters in a request of the native API for the method of that name: the members of its `parameters`,
        and its `size_bytes` as `fileSize`. Raises InvalidArgument that names the invalid members."""
        members = MessageToDict(request.parameters) | {"transferMethod": method}
        if isinstance(request, pb.StageUploadRequest) and request.HasField("size_bytes"):
            members["fileSize"] = request.size_bytes
        return validate(cls, members, "body")


class _Reply(Model):
    """A reply, of which all fields are sent, also those with a default."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    def json_form(self) -> dict[str, Any]:
        """The members of its JSON object, as FirecREST's clients get it."""
        return self.model_dump(mode="json", by_alias=True)


class Instructions(_Reply):
    """Instructions for the client; FirecREST's `transferDirectives` of a reply.

    Each model has a field `transfer_method` that is the method's name.
    """

    transfer_method: str

    def native(self) -> pb.StagedTransfer:
        """The same in the native API: a message with one of its `directives` set, and nothing else."""
        message = pb.StagedTransfer()
        message.parameters.update(self.json_form())
        del message.parameters["transferMethod"]  # the message has a field `method`
        return message


class Service(_Reply):
    """A method as FirecREST's `/status/systems` shows it, secrets never.

    Each model has a field `service_type` that is the method's name.
    """

    service_type: str

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """The entry of a method with these options: those of the configuration file, and defaults for the others.

        Each field is the option of the same name, unless a method overrides this."""
        return cls.model_validate(options)


@dataclass(frozen=True, slots=True, kw_only=True)
class WireForm:
    """All models of one method: the parameters for an `upload` and for a `download`, all kinds of `instructions`, and
    its entry as a `service`."""

    upload: type[Parameters]
    download: type[Parameters]
    instructions: tuple[type[Instructions], ...]
    service: type[Service]

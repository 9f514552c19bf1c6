"""Makes the OpenAPI document of surfaces, from their contracts and what they say of their methods.

Paths, fields and words come from the descriptor set. Where methods carry plain JSON in `google.api.HttpBody`, or their
queries as strings, what these are comes from the models that `Surface.operations` names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Literal

from google.protobuf.descriptor_pb2 import (
    FieldDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

from passerelle.gateway.contracts import Binding, bindings
from passerelle.gateway.openapi.schemas import Contracts, Json, Schemas, is_required, untitled
from passerelle.runtime.surface import Operation, Surface
from passerelle.v1 import access_pb2

_BODY = ".google.api.HttpBody"
_BINARY: Json = {"type": "string", "format": "binary"}

_INFO = """Jobs and files of HPC systems, through one secure API.

**Two surfaces, one core.** `/v1` is the native API; the same methods are served over gRPC and gRPC-Web on the same
port (each operation names its own). `/status`, `/compute` and `/filesystem` speak FirecREST v2 to the letter, for the
clients that exist.

**Authentication.** Every call but `/status/liveness/` wants an access token of one of the site's identity providers:
`Authorization: Bearer TOKEN`. With the embedded default, `passerelle token` prints one.

**Request ids.** Every reply carries `X-Request-ID`: the one you sent, or one made for you. Quote it when you ask for
help.
"""


def document_of(surfaces: Sequence[Surface]) -> Json:
    """The OpenAPI 3.1 document of surfaces that have one descriptor set in common."""
    contracts = Contracts(FileDescriptorSet.FromString(surfaces[0].descriptor_set()))
    schemas, paths, tags = Schemas(contracts), dict[str, Json](), dict[str, str]()
    for surface in surfaces:
        operations = [
            _Operation(contracts, schemas, surface, name, method, binding)
            for name, method in contracts.methods(surface.packages)
            for binding in bindings(method)
        ]
        tags |= sorted(operation.tag for operation in operations)
        for operation in operations:
            paths.setdefault(operation.path, {})[operation.verb] = operation.json()
    errors = {_error_name(surface): dict(surface.error_schema) for surface in surfaces}
    bearer = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Passerelle",
            "version": version("passerelle"),
            "description": _INFO,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in tags.items()],
        "paths": paths,
        "components": {
            "schemas": dict(sorted((schemas.by_name | errors).items())),
            "securitySchemes": {"bearer": bearer},
        },
    }


@dataclass(frozen=True)
class _Operation:
    """One method, as one of its bindings offers it."""

    contracts: Contracts
    schemas: Schemas
    surface: Surface
    service_name: str
    method: MethodDescriptorProto
    binding: Binding

    @cached_property
    def _access(self) -> access_pb2.Access:
        return self.method.options.Extensions[access_pb2.access]

    @cached_property
    def _described(self) -> Operation:
        """What the surface says of the method."""
        return self.surface.operations(self.service_name).get(self.method.name, Operation())

    @cached_property
    def _fields(self) -> Mapping[str, FieldDescriptorProto]:
        """The fields of the method's request by their names."""
        return {f.name: f for f in self.contracts.messages[self.method.input_type].field}

    @property
    def path(self) -> str:
        """The template of its path."""
        return self.binding.template

    @property
    def verb(self) -> str:
        """Its HTTP verb, lower-case."""
        return self.binding.verb.lower()

    @property
    def tag(self) -> tuple[str, str]:
        """The name and the description of the group that it is listed in."""
        segment = self.binding.template.split("/")[1]
        if segment in self.surface.groups:
            return f"{self.surface.title}: {segment}", self.surface.groups[segment]
        name = self.service_name.rpartition(".")[2].removesuffix("Service").lower()
        return f"{self.surface.title}: {name}", self.contracts.text(self.service_name)

    def json(self) -> Json:
        """The operation object."""
        text = self.contracts.text(self.service_name, self.method.name)
        service = self.service_name.rpartition(".")[2]
        operation: Json = {
            "operationId": f"{self.surface.schema_prefix}{service}.{self.method.name}",
            "tags": [self.tag[0]],
            "summary": text.split(". ")[0].rstrip("."),
            "description": self._description(text),
            "parameters": [*self._path_parameters(), *self._query_parameters()],
            "responses": self._responses(),
            "security": [] if self._is_public else [{"bearer": []}],
        }
        body = self._request_body()
        return operation | ({"requestBody": body} if body else {})

    @property
    def _is_public(self) -> bool:
        return bool(self._access.audience == access_pb2.Access.PUBLIC)

    def _description(self, text: str) -> str:
        lines = [text, f"Over gRPC: `{self.service_name}/{self.method.name}`."]
        if self._access.scope:
            lines.append(f"Scope, where the site enforces scopes: `{self._access.scope}`.")
        return "\n\n".join(lines)

    def _path_parameters(self) -> list[Json]:
        return [
            {"name": name, "in": "path", "required": True} | self._parameter(self._fields[name])
            for name in self.binding.variables
        ]

    def _query_parameters(self) -> list[Json]:
        if self.binding.body == "*":
            return []
        elsewhere = {*self.binding.variables, self.binding.body}
        fields = [field for name, field in self._fields.items() if name not in elsewhere]
        return [
            {"name": field.json_name, "in": "query", "required": is_required(field)}
            | self._parameter(field)
            | self._modelled(field)
            for field in fields
        ]

    def _modelled(self, field: FieldDescriptorProto) -> Json:
        """What the surface's own model of the query says of a parameter."""
        if self._described.query is None:
            return {}
        model = untitled(self._described.query.model_json_schema())
        schema = model["properties"].get(field.json_name)
        return (
            {"schema": schema, "required": field.json_name in model.get("required", ())}
            if schema
            else {}
        )

    def _parameter(self, field: FieldDescriptorProto) -> Json:
        schema = self.schemas.field(self.method.input_type, field)
        return {"description": schema.pop("description", ""), "schema": schema}

    def _request_body(self) -> Json | None:
        if self._described.body is not None:
            return _content(self._model(self._described.body, "validation"), required=True)
        if not self.binding.body:
            return None
        if self.binding.body == "*":
            schema = self.schemas.object_of(self.method.input_type, self.binding.variables)
            return _content(schema, required=True)
        field = self._fields[self.binding.body]
        if field.type_name != _BODY:
            return _content(self.schemas.message(field.type_name), required=True)
        if self._described.multipart:
            form = {"type": "object", "properties": {"file": _BINARY}, "required": ["file"]}
            return _content(form, "multipart/form-data", required=True)
        kind = "application/octet-stream" if self.method.client_streaming else "application/json"
        return _content(_BINARY if self.method.client_streaming else {}, kind, required=True)

    def _responses(self) -> Json:
        refused = _content({"$ref": f"#/components/schemas/{_error_name(self.surface)}"})
        return self._successes() | {
            "4XX": {"description": "The request was refused."} | refused,
            "5XX": {"description": "The service, or the system behind it, failed."} | refused,
        }

    def _successes(self) -> Json:
        if self._described.replies:
            return {
                str(status): {"description": HTTPStatus(status).phrase} | self._reply(model)
                for status, model in self._described.replies.items()
            }
        if self.method.output_type != _BODY:
            reply = self.schemas.message(self.method.output_type)
            if self.method.server_streaming:
                reply = {"type": "array", "items": reply}
            return {"200": {"description": "OK"} | _content(reply)}
        kind = "application/octet-stream" if self.method.server_streaming else "application/json"
        text = "OK; a stream of any size." if self.method.server_streaming else "OK"
        schema = _BINARY if self.method.server_streaming else {}
        return {"200": {"description": text} | _content(schema, kind)}

    def _reply(self, model: Any) -> Json:
        if model is None:
            return {}
        if model is bytes:
            return _content(_BINARY, "application/octet-stream")
        return _content(self._model(model, "serialization"))

    def _model(self, model: Any, mode: Literal["validation", "serialization"]) -> Json:
        return self.schemas.model(model, mode, self.surface.schema_prefix)


def _error_name(surface: Surface) -> str:
    return f"{surface.schema_prefix}Error"


def _content(schema: Json, kind: str = "application/json", **more: Any) -> Json:
    return {"content": {kind: {"schema": schema}}, **more}

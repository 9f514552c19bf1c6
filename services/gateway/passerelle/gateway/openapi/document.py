"""Makes the OpenAPI document of surfaces, from their contracts and what they say of their methods.

Paths, fields and words come from the descriptor set. Where methods carry plain JSON in `google.api.HttpBody`, or their
queries as strings, what these are comes from the models that `Surface.operations` names.
"""

from collections.abc import Sequence
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
            "schemas": dict(sorted((schemas.found | errors).items())),
            "securitySchemes": {"bearer": bearer},
        },
    }


class _Operation:
    """One method, as one of its bindings offers it."""

    def __init__(
        self,
        contracts: Contracts,
        schemas: Schemas,
        surface: Surface,
        service_name: str,
        method: MethodDescriptorProto,
        binding: Binding,
    ) -> None:
        self._contracts = contracts
        self._schemas = schemas
        self._service_name = service_name
        self._method = method
        self._binding = binding
        self._access = method.options.Extensions[access_pb2.access]
        self._surface = surface
        self._described = surface.operations(service_name).get(method.name, Operation())
        self._fields = {f.name: f for f in contracts.messages[method.input_type].field}

    @property
    def path(self) -> str:
        """The template of its path."""
        return self._binding.template

    @property
    def verb(self) -> str:
        """Its HTTP verb, lower-case."""
        return self._binding.verb.lower()

    @property
    def tag(self) -> tuple[str, str]:
        """The group it is listed in, and what that is."""
        segment = self._binding.template.split("/")[1]
        if segment in self._surface.groups:
            return f"{self._surface.title}: {segment}", self._surface.groups[segment]
        name = self._service_name.rpartition(".")[2].removesuffix("Service").lower()
        return f"{self._surface.title}: {name}", self._contracts.text(self._service_name)

    def json(self) -> Json:
        """The operation object."""
        text = self._contracts.text(self._service_name, self._method.name)
        service = self._service_name.rpartition(".")[2]
        operation: Json = {
            "operationId": f"{self._surface.schema_prefix}{service}.{self._method.name}",
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
        lines = [text, f"Over gRPC: `{self._service_name}/{self._method.name}`."]
        if self._access.scope:
            lines.append(f"Scope, where the site enforces scopes: `{self._access.scope}`.")
        return "\n\n".join(lines)

    def _path_parameters(self) -> list[Json]:
        return [
            {"name": name, "in": "path", "required": True} | self._parameter(self._fields[name])
            for name in self._binding.variables
        ]

    def _query_parameters(self) -> list[Json]:
        if self._binding.body == "*":
            return []
        elsewhere = {*self._binding.variables, self._binding.body}
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
        schema = self._schemas.field(self._method.input_type, field)
        return {"description": schema.pop("description", ""), "schema": schema}

    def _request_body(self) -> Json | None:
        if self._described.body is not None:
            return _content(self._model(self._described.body, "validation"), required=True)
        if not self._binding.body:
            return None
        if self._binding.body == "*":
            schema = self._schemas.object_of(self._method.input_type, self._binding.variables)
            return _content(schema, required=True)
        field = self._fields[self._binding.body]
        if field.type_name != _BODY:
            return _content(self._schemas.message(field.type_name), required=True)
        if self._described.multipart:
            form = {"type": "object", "properties": {"file": _BINARY}, "required": ["file"]}
            return _content(form, "multipart/form-data", required=True)
        kind = "application/octet-stream" if self._method.client_streaming else "application/json"
        return _content(_BINARY if self._method.client_streaming else {}, kind, required=True)

    def _responses(self) -> Json:
        refused = _content({"$ref": f"#/components/schemas/{_error_name(self._surface)}"})
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
        if self._method.output_type != _BODY:
            reply = self._schemas.message(self._method.output_type)
            if self._method.server_streaming:
                reply = {"type": "array", "items": reply}
            return {"200": {"description": "OK"} | _content(reply)}
        kind = "application/octet-stream" if self._method.server_streaming else "application/json"
        text = "OK; a stream of any size." if self._method.server_streaming else "OK"
        schema = _BINARY if self._method.server_streaming else {}
        return {"200": {"description": text} | _content(schema, kind)}

    def _reply(self, model: Any) -> Json:
        if model is None:
            return {}
        if model is bytes:
            return _content(_BINARY, "application/octet-stream")
        return _content(self._model(model, "serialization"))

    def _model(self, model: Any, mode: Literal["validation", "serialization"]) -> Json:
        return self._schemas.model(model, mode, self._surface.schema_prefix)


def _error_name(surface: Surface) -> str:
    return f"{surface.schema_prefix}Error"


def _content(schema: Json, kind: str = "application/json", **more: Any) -> Json:
    return {"content": {kind: {"schema": schema}}, **more}

"""Makes the OpenAPI document of both REST surfaces, in versions 3.1 and 3.0: `python proto/openapi.py OUT`.

The stubs have to be in `OUT` already. Paths, fields and words come from the descriptor set. A profile's methods carry
plain JSON in `google.api.HttpBody`, and their queries as strings, so what these are comes from the adapters' own models
(`OPENAPI` in each profile adapter).
"""

import importlib
import json
import re
import sys
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import (
    FieldDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)
from openapi_3_0 import rendition
from openapi_schemas import Contracts, Json, Schemas, is_required, untitled

from passerelle.gateway.contracts import Binding, bindings
from passerelle.runtime.surface import Surface, surfaces
from passerelle.surfaces.firecrest import Firecrest
from passerelle.surfaces.firecrest.replies import Operation
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

_PROFILE_TAGS = {
    "status": "Systems, their health, nodes, partitions and reservations.",
    "compute": "Jobs.",
    "filesystem": "Files.",
}


class Document:
    """The OpenAPI document, operation by operation."""

    def __init__(self, contracts: Contracts) -> None:
        self._contracts = contracts
        self._schemas = Schemas(contracts)
        self._paths: dict[str, Json] = {}
        self._tags: dict[str, str] = {}

    def json(self) -> Json:
        """The whole document."""
        for name, service, method in self._contracts.methods():
            for binding in bindings(method):
                operation = _Operation(
                    self._contracts, self._schemas, name, service, method, binding
                )
                self._tags.setdefault(*operation.tag)
                self._paths.setdefault(binding.template, {})[binding.verb.lower()] = (
                    operation.json()
                )
        errors = {_error_name(surface): dict(surface.error_schema) for surface in surfaces()}
        schemas = self._schemas.found | errors
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
            "tags": [{"name": name, "description": self._tags[name]} for name in self._tag_order()],
            "paths": self._paths,
            "components": {
                "schemas": dict(sorted(schemas.items())),
                "securitySchemes": {"bearer": bearer},
            },
        }

    def _tag_order(self) -> list[str]:
        return sorted(self._tags, key=lambda name: (not name.startswith("Native"), name))


class _Operation:
    """One method, as one of its bindings offers it."""

    def __init__(
        self,
        contracts: Contracts,
        schemas: Schemas,
        service_name: str,
        service: ServiceDescriptorProto,
        method: MethodDescriptorProto,
        binding: Binding,
    ) -> None:
        self._contracts = contracts
        self._schemas = schemas
        self._service_name = service_name
        self._method = method
        self._binding = binding
        self._access = method.options.Extensions[access_pb2.access]
        self._is_profile = service_name.rpartition(".")[0] in Firecrest.packages
        self._profile = (_adapter(service) if self._is_profile else {}).get(
            method.name, Operation()
        )
        self._fields = {f.name: f for f in contracts.messages[method.input_type].field}

    @property
    def tag(self) -> tuple[str, str]:
        """The group it is listed in, and what that is."""
        if self._is_profile:
            segment = self._binding.template.split("/")[1]
            return f"FirecREST v2: {segment}", _PROFILE_TAGS[segment]
        name = self._service_name.rpartition(".")[2].removesuffix("Service").lower()
        return f"Native: {name}", self._contracts.text(self._service_name)

    def json(self) -> Json:
        """The operation object."""
        text = self._contracts.text(self._service_name, self._method.name)
        kind = "firecrest." if self._is_profile else ""
        service = self._service_name.rpartition(".")[2]
        found: Json = {
            "operationId": f"{kind}{service}.{self._method.name}",
            "tags": [self.tag[0]],
            "summary": text.split(". ")[0].rstrip("."),
            "description": self._description(text),
            "parameters": [*self._path_parameters(), *self._query_parameters()],
            "responses": self._responses(),
            "security": [] if self._is_public else [{"bearer": []}],
        }
        body = self._request_body()
        return found | ({"requestBody": body} if body else {})

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
        """What the profile's own model of the query says of a parameter."""
        if self._profile.query is None:
            return {}
        model = untitled(self._profile.query.model_json_schema())
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
        if self._profile.body is not None:
            return _content(self._schemas.model(self._profile.body, "validation"), required=True)
        if not self._binding.body:
            return None
        if self._binding.body == "*":
            schema = self._schemas.object_of(self._method.input_type, self._binding.variables)
            return _content(schema, required=True)
        field = self._fields[self._binding.body]
        if field.type_name != _BODY:
            return _content(self._schemas.message(field.type_name), required=True)
        if self._is_profile and self._method.client_streaming:
            form = {"type": "object", "properties": {"file": _BINARY}, "required": ["file"]}
            return _content(form, "multipart/form-data", required=True)
        kind = "application/octet-stream" if self._method.client_streaming else "application/json"
        return _content(_BINARY if self._method.client_streaming else {}, kind, required=True)

    def _responses(self) -> Json:
        surface = surfaces().of_method(self._service_name)
        assert surface  # noqa: S101  # which is why it is listed
        refused = _content({"$ref": f"#/components/schemas/{_error_name(surface)}"})
        return self._successes() | {
            "4XX": {"description": "The request was refused."} | refused,
            "5XX": {"description": "The service, or the system behind it, failed."} | refused,
        }

    def _successes(self) -> Json:
        if self._profile.replies:
            return {
                str(status): {"description": HTTPStatus(status).phrase} | self._reply(model)
                for status, model in self._profile.replies.items()
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
        return _content(self._schemas.model(model, "serialization"))


def _error_name(surface: Surface) -> str:
    return "Error" if surface.name == "native" else f"{surface.name}.Error"


def _content(schema: Json, kind: str = "application/json", **more: Any) -> Json:
    return {"content": {kind: {"schema": schema}}, **more}


def _adapter(service: ServiceDescriptorProto) -> dict[str, Operation]:
    """What the profile's adapter of `service` says of its methods: `compute_service` of a ComputeService."""
    adapter = re.sub(r"(?<!^)(?=[A-Z])", "_", service.name).lower()
    served_by = service.options.Extensions[access_pb2.served_by]
    module = importlib.import_module(f"passerelle.{served_by}.firecrest.{adapter}")
    operations: dict[str, Operation] = module.OPENAPI
    return operations


def main(out: Path) -> None:
    """Write `openapi.json` and `openapi-3.0.json` beside the descriptor set below `out`."""
    there = out / "passerelle" / "v1"
    found = FileDescriptorSet.FromString((there / "descriptors.pb").read_bytes())
    document = Document(Contracts(found)).json()
    for name, made in (("openapi", document), ("openapi-3.0", rendition(document))):
        text = json.dumps(made, indent=1, ensure_ascii=False) + "\n"
        (there / f"{name}.json").write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Schemas of the OpenAPI document, from the descriptor set and from the models of surfaces."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from google.api.field_behavior_pb2 import OUTPUT_ONLY, REQUIRED, field_behavior
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)
from google.protobuf.message import Message
from pydantic import TypeAdapter

Json = dict[str, Any]
Comments = dict[tuple[int, ...], str]

_NATIVE = "passerelle.v1"
_PARTS = {"message_type", "nested_type", "enum_type", "service", "field", "value", "method"}
"""The fields of descriptors that hold what comments are kept for."""

# JSON forms of https://protobuf.dev/programming-guides/json/; 64-bit integers travel as strings.
_SCALARS: dict[int, Json] = {
    FieldDescriptorProto.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptorProto.TYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptorProto.TYPE_INT64: {"type": "string", "format": "int64"},
    FieldDescriptorProto.TYPE_UINT64: {"type": "string", "format": "uint64"},
    FieldDescriptorProto.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptorProto.TYPE_UINT32: {"type": "integer", "format": "uint32"},
    FieldDescriptorProto.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptorProto.TYPE_STRING: {"type": "string"},
    FieldDescriptorProto.TYPE_BYTES: {"type": "string", "format": "byte"},
}
_WELL_KNOWN: dict[str, Json] = {
    ".google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    ".google.protobuf.Duration": {
        "type": "string",
        "pattern": r"^-?\d+(\.\d{1,9})?s$",
        "examples": ["90s"],
    },
    ".google.protobuf.Empty": {"type": "object"},
    ".google.protobuf.Struct": {"type": "object", "additionalProperties": True},
}


class Contracts:
    """The descriptor set, with its comments by full name."""

    def __init__(self, descriptor_set: FileDescriptorSet) -> None:
        self.messages: dict[str, DescriptorProto] = {}
        self.enums: dict[str, EnumDescriptorProto] = {}
        self.texts: dict[str, str] = {}
        self.services: list[tuple[str, ServiceDescriptorProto]] = []
        for file in descriptor_set.file:
            self._add_file(file)

    def methods(self, packages: Sequence[str]) -> Iterator[tuple[str, MethodDescriptorProto]]:
        """Every RPC of these proto packages, with its service's full name."""
        for name, service in self.services:
            if name.rpartition(".")[0] in packages:
                yield from ((name, method) for method in service.method)

    def text(self, *names: str) -> str:
        """The comment on the element with the full name `names`, joined by dots; empty without one."""
        return self.texts.get(".".join(names).lstrip("."), "")

    def _add_file(self, file: FileDescriptorProto) -> None:
        comments = {
            tuple(location.path): _unwrapped(location.leading_comments)
            for location in file.source_code_info.location
            if location.leading_comments
        }
        self._add_parts(file.package, file, (), comments)

    def _add_parts(
        self, scope: str, whole: Message, path: tuple[int, ...], comments: Comments
    ) -> None:
        """Add all parts of a descriptor. The keys of comments are built as the paths of SourceCodeInfo."""
        for kind in whole.DESCRIPTOR.fields:
            if kind.name not in _PARTS:
                continue
            for i, part in enumerate(getattr(whole, kind.name)):
                name, part_path = f"{scope}.{part.name}", (*path, kind.number, i)
                self.texts[name] = comments.get(part_path, "")
                if isinstance(part, DescriptorProto):
                    self.messages[f".{name}"] = part
                elif isinstance(part, EnumDescriptorProto):
                    self.enums[f".{name}"] = part
                elif isinstance(part, ServiceDescriptorProto):
                    self.services.append((name, part))
                self._add_parts(name, part, part_path, comments)


def is_required(field: FieldDescriptorProto) -> bool:
    """Whether a request must set the field."""
    return REQUIRED in field.options.Extensions[field_behavior]


def _unwrapped(comment: str) -> str:
    return " ".join(comment.split())


class Schemas:
    """The document's `components.schemas`, in `by_name`: those that were referred to until now."""

    def __init__(self, contracts: Contracts) -> None:
        self.by_name: dict[str, Json] = {}
        self._contracts = contracts

    def message(self, name: str) -> Json:
        """The schema of the message with the full name `name`, which begins with a dot."""
        if name in _WELL_KNOWN:
            return dict(_WELL_KNOWN[name])
        return self._referred(name, lambda: self.object_of(name, ()))

    def object_of(self, name: str, without: tuple[str, ...]) -> Json:
        """The message's own schema, without the fields that travel elsewhere."""
        fields = [f for f in self._contracts.messages[name].field if f.name not in without]
        schema: Json = {
            "type": "object",
            "properties": {field.json_name: self.field(name, field) for field in fields},
        }
        if required := [field.json_name for field in fields if is_required(field)]:
            schema["required"] = required
        return self._described(schema, name)

    def field(self, message: str, field: FieldDescriptorProto) -> Json:
        """The schema of one field."""
        entry = self._contracts.messages.get(field.type_name)
        if entry is not None and entry.options.map_entry:
            schema: Json = {"type": "object", "additionalProperties": self._type(entry.field[1])}
        elif field.label == FieldDescriptorProto.LABEL_REPEATED:
            schema = {"type": "array", "items": self._type(field)}
        else:
            schema = self._type(field)
        if OUTPUT_ONLY in field.options.Extensions[field_behavior]:
            schema["readOnly"] = True
        return self._described(schema, message, field.name)

    def model(self, model: Any, mode: Literal["validation", "serialization"], prefix: str) -> Json:
        """The schema of a model of a surface, whose name begins with `prefix`; `mode` is pydantic's."""
        template = f"#/components/schemas/{prefix}{{model}}"
        schema = untitled(TypeAdapter(model).json_schema(mode=mode, ref_template=template))
        for name, part in schema.pop("$defs", {}).items():
            self._keep(f"{prefix}{name}", part)
        return self._keep(f"{prefix}{model.__name__}", schema)

    def _keep(self, name: str, schema: Json) -> Json:
        if self.by_name.setdefault(name, schema) != schema:
            raise ValueError(f"there are different models of the name {name}")
        return {"$ref": f"#/components/schemas/{name}"}

    def _type(self, field: FieldDescriptorProto) -> Json:
        if field.type == FieldDescriptorProto.TYPE_ENUM:
            return self._referred(field.type_name, lambda: self._enum(field.type_name))
        if field.type == FieldDescriptorProto.TYPE_MESSAGE:
            return self.message(field.type_name)
        return dict(_SCALARS[field.type])

    def _enum(self, name: str) -> Json:
        values = [value.name for value in self._contracts.enums[name].value]
        lines = [f"- `{value}`: {self._contracts.text(name, value)}" for value in values]
        text = "\n".join([self._contracts.text(name), "", *lines])
        return {"type": "string", "enum": values, "description": text}

    def _referred(self, name: str, make: Callable[[], Json]) -> Json:
        short = name.removeprefix(f".{_NATIVE}.").lstrip(".")
        if short not in self.by_name:
            self.by_name[
                short
            ] = {}  # so that the schema of a message that contains itself is finite
            self.by_name[short] = make()
        return {"$ref": f"#/components/schemas/{short}"}

    def _described(self, schema: Json, *names: str) -> Json:
        text = self._contracts.text(*names)
        return schema | {"description": text} if text else schema


def untitled(schema: Any) -> Any:
    """A schema without the titles that pydantic makes of names."""
    if isinstance(schema, dict):
        return {
            key: untitled(value)
            for key, value in schema.items()
            if key != "title" or not isinstance(value, str)
        }
    return [untitled(item) for item in schema] if isinstance(schema, list) else schema

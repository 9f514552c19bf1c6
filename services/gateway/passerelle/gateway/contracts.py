"""The methods of the contracts, read from the descriptor set, for Envoy's routes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

from google.api import annotations_pb2
from google.api.http_pb2 import HttpRule
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import (
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

from passerelle.runtime.surface import Surface, surfaces
from passerelle.v1 import access_pb2

REPLIES = "-replies"
"""How the names of Envoy's clusters for streamed answers end."""

_VARIABLE = re.compile(r"\{([^}=]+)(?:=[^}]*)?\}")


@dataclass(frozen=True, slots=True)
class Binding:
    """One way to call a method over REST: an HTTP verb and a path template of `google.api.http`.

    `body` is the request field that the body holds: `*` for all that the path does not, empty for none.
    """

    verb: str
    template: str
    body: str = ""

    @property
    def variables(self) -> tuple[str, ...]:
        """The request fields that the path carries."""
        return tuple(_VARIABLE.findall(self.template))

    @property
    def spellings(self) -> Iterator[str]:
        """Every way in which a query could name what the path carries: proto's and JSON's names of each part."""
        for variable in self.variables:
            parts = [{part, to_json_name(part)} for part in variable.split(".")]
            yield from (".".join(names) for names in product(*parts))

    @property
    def regex(self) -> str:
        """A regular expression of its paths; a variable is one segment."""
        parts = _VARIABLE.split(self.template)
        return "[^/]+".join(re.escape(literal) for literal in parts[::2])

    @property
    def example(self) -> str:
        """One of its paths."""
        return _VARIABLE.sub("x", self.template)


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC: `service` is its full name, `surface` the API it belongs to, `served_by` the process that serves it.

    `public` methods are for clients. Those that `anyone` may call require no token. The others require a token with
    `scope`, and a caller who has `relation` to the system, and the relations of `also` to the systems in other request
    fields. A method that `reads` changes nothing.
    """

    service: str
    name: str
    surface: Surface
    served_by: str
    public: bool
    anyone: bool
    scope: str
    relation: str
    also: tuple[tuple[str, str], ...]
    reads: bool
    bindings: tuple[Binding, ...]
    client_streaming: bool
    server_streaming: bool

    @property
    def path(self) -> str:
        """Its path over gRPC."""
        return f"/{self.service}/{self.name}"

    @property
    def cluster(self) -> str:
        """The name of its cluster in Envoy. Methods that answer with streams have one with larger windows."""
        return self.served_by + (REPLIES if self.server_streaming else "")

    @property
    def answers_head(self) -> bool:
        """Whether it answers HEAD where it answers GET."""
        return f"{self.service}/{self.name}" in self.surface.heads

    @property
    def streams(self) -> bool:
        """Whether either side sends a stream."""
        return self.client_streaming or self.server_streaming


def to_json_name(name: str) -> str:
    """The name that JSON gives a proto field (protobuf's language guide, "JSON Mapping")."""
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)


@cache
def descriptors() -> FileDescriptorSet:
    """The descriptor set of all contracts, as installed; a file that several surfaces bring is in it once."""
    sets = map(FileDescriptorSet.FromString, {one.descriptor_set(): one for one in surfaces()})
    return FileDescriptorSet(file={file.name: file for one in sets for file in one.file}.values())


def transcodable(contract: str | None = None) -> bytes:
    """The descriptor set as Envoy's transcoder takes it: without comments, and no path template ends in a slash.

    It refuses such templates, and accepts paths with and without the slash for the others. The set has all files, or
    the file `contract` with what it imports.
    """
    wanted = contract and _imported(contract)
    trimmed = FileDescriptorSet(
        file=[file for file in descriptors().file if not wanted or file.name in wanted]
    )
    for file in trimmed.file:
        file.ClearField("source_code_info")
        for method in (method for service in file.service for method in service.method):
            if method.options.HasExtension(annotations_pb2.http):
                _trim(method.options.Extensions[annotations_pb2.http])
    return trimmed.SerializeToString(deterministic=True)


def _imported(contract: str) -> set[str]:
    """A file's name, and those of all that it imports."""
    imports = {file.name: file.dependency for file in descriptors().file}
    names, waiting = set[str](), [contract]
    while waiting:
        name = waiting.pop()
        names.add(name)
        waiting += set(imports[name]) - names
    return names


def _trim(rule: HttpRule) -> None:
    verb = rule.WhichOneof("pattern")
    if verb is not None:
        setattr(rule, verb, getattr(rule, verb).rstrip("/"))
    for more in rule.additional_bindings:
        _trim(more)


@cache
def methods() -> tuple[Method, ...]:
    """Every RPC of our own contracts, in the order of the files."""
    return tuple(
        _method(f"{file.package}.{service.name}", surface, service, method)
        for file in descriptors().file
        for service in file.service
        if (surface := surfaces().of_method(f"{file.package}.{service.name}"))
        for method in service.method
    )


@cache
def lists_in_queries() -> tuple[str, ...]:
    """The names, in both spellings, of request fields that a query may give several times: lists."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptors().file:
        pool.Add(file)
    names: set[str] = set()
    for method in methods():
        if method.bindings:
            kind = pool.FindMethodByName(f"{method.service}.{method.name}").input_type
            names |= {name for f in kind.fields if f.is_repeated for name in (f.name, f.json_name)}
    return tuple(sorted(names))


def _method(
    name: str, surface: Surface, service: ServiceDescriptorProto, method: MethodDescriptorProto
) -> Method:
    access = method.options.Extensions[access_pb2.access]
    return Method(
        service=name,
        name=method.name,
        surface=surface,
        served_by=service.options.Extensions[access_pb2.served_by],
        public=access.audience in (access_pb2.Access.PUBLIC, access_pb2.Access.USER),
        anyone=access.audience == access_pb2.Access.PUBLIC,
        scope=access.scope,
        relation=access.relation,
        also=tuple((also.field, also.relation) for also in access.also),
        reads=access.effect == access_pb2.Access.READS,
        bindings=tuple(bindings(method)),
        client_streaming=method.client_streaming,
        server_streaming=method.server_streaming,
    )


def bindings(method: MethodDescriptorProto) -> Iterator[Binding]:
    """The ways to call a method over REST; none for a method that is gRPC only."""
    return _bindings(method.options.Extensions[annotations_pb2.http])


def _bindings(rule: HttpRule) -> Iterator[Binding]:
    verb = rule.WhichOneof("pattern")
    if verb is not None:
        yield Binding(verb.upper(), getattr(rule, verb), rule.body)
    for more in rule.additional_bindings:
        yield from _bindings(more)

"""Surfaces: the APIs that are spoken here, each with its contract and its own way to show errors.

A surface is a class below `Surface`, registered as an entry point in the group `passerelle.surfaces`. The pipeline, the
rendered configuration of Envoy and `auth` ask it what they need; none of them knows one by its name.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import entry_points
from importlib.resources import files
from pkgutil import resolve_name
from typing import Any, ClassVar, TypeVar

import grpc
from google.protobuf.descriptor import Descriptor

from passerelle.runtime.errors import ApiError

GROUP = "passerelle.surfaces"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to an error over REST: HTTP status, JSON body, and headers besides those of the error itself."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The body as it may stand in a header: in ASCII, which orjson does not write."""
        return json.dumps(self.body, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Operation:
    """What the OpenAPI document says of one method, beyond what its contract can.

    `body` and `query` are the pydantic models that validate them. `replies` maps the statuses of success to what the
    body then is: a TypedDict (of `typing_extensions`, as pydantic wants) or a pydantic model for JSON, `bytes` for file
    content, None for no body. The docstrings of models are their descriptions. `multipart`: the body is a form with a
    file.
    """

    body: Any = None
    query: Any = None
    replies: Mapping[int, Any] = field(default_factory=dict)
    multipart: bool = False


class Surface(ABC):
    """One API. Most attributes have a default; `body` has none."""

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    """The proto packages of its contract."""
    prefixes: ClassVar[tuple[str, ...]]
    """How its REST paths begin, with a slash at the end. What lies below `/` alone is shown as the surface that has `/`
    among them: one of all surfaces does."""
    descriptors: ClassVar[str] = "passerelle.v1"
    """The Python package that has the descriptor set of its contract in `descriptors.pb`, with all that it imports,
    and its OpenAPI document in `openapi.json`."""

    statuses: ClassVar[Mapping[str, int]] = {}
    """HTTP statuses of errors, by reason, where they are not the errors' own. A reason stands for derived ones, too."""
    replaced: ClassVar[Mapping[str, Callable[[ApiError], ApiError]]] = {}
    """Errors that are shown as others, by reason, over REST and gRPC alike. The logs have what was raised."""
    error_schema: ClassVar[Mapping[str, Any]] = {"type": "object"}
    """The JSON Schema (2020-12) of what `body` makes, for the OpenAPI document."""
    title: ClassVar[str]
    """Its name in the OpenAPI document."""
    schema_prefix: ClassVar[str]
    """How the names of its operations and models begin there; no two surfaces have the same."""
    groups: ClassVar[Mapping[str, str]] = {}
    """The groups in which its methods are listed there, and what they are, by the first segment of their paths; others
    are listed by their services."""
    described: ClassVar[Mapping[str, str]] = {}
    """By a service's full name, where `Operation`s stand by the names of its methods: `package.module:NAME`. Only who
    makes the document imports them."""
    reply_headers: ClassVar[Mapping[str, str]] = {}
    """Headers of every reply; in values Envoy fills in its command operators, such as `%START_TIME(%s)%`."""

    case_insensitive: ClassVar[bool] = False
    """Whether its REST paths are read in any case: they have to be lower-case in the contract."""
    redirects_slashes: ClassVar[bool] = False
    """Whether a path with a slash too many or too few at its end is redirected; otherwise it is accepted."""
    http_1_0: ClassVar[bool] = False
    """Whether HTTP/1.0 may be spoken, which cannot tell the end of a stream from a connection that broke."""
    heads: ClassVar[frozenset[str]] = frozenset()
    """Methods, as `package.Service/Method`, that answer HEAD: they look for `headers.HEAD` and send no content."""

    @abstractmethod
    def body(self, error: ApiError, *, status: int, user: str | None) -> Mapping[str, Any]:
        """The JSON body of an error that is answered with the HTTP `status`.

        `user` is the caller's account, None before authentication. For what Envoy itself answers it is called at start,
        with Envoy's command operators in `error.detail`.
        """

    def headers_of(self, user: str) -> Mapping[str, str]:
        """Headers of errors whose caller is known."""
        return {}

    def about(self, kind: Descriptor) -> Callable[[Any], Mapping[str, str]] | None:
        """A function that reads further fields of the audit log, such as `path`, from requests of this kind.

        None when their own fields with such names are all there is.
        """
        return None

    def serve(self, process: str, server: grpc.aio.Server, parts: Any) -> None:  # noqa: B027  # most add none
        """Add servicers of its own to a process (`compute`, `storage`, `gateway`), made from the parts that it has.

        A surface outside the tree has them here; the main module of the process says what its parts are. Servicers of
        our own surfaces stand in the folders of the services, which add them themselves.
        """

    def shown(self, error: ApiError) -> ApiError:
        """The error that callers of this surface see in place of `error`."""
        replace = _of(error, self.replaced)
        return replace(error) if replace else error

    def answer(self, error: ApiError, user: str | None) -> Answer:
        """How an error is answered over REST; `user` is None before authentication."""
        status = _of(error, self.statuses) or error.http
        body = self.body(error, status=status, user=user)
        return Answer(status, body, self.headers_of(user) if user else {})

    @cached_property
    def paths(self) -> str:
        """A pattern of its paths, with a query or without: as called over REST, and of its gRPC methods."""
        rest = (rf"{re.escape(prefix.rstrip('/'))}([/?].*)?" for prefix in self.prefixes)
        grpc = (rf"/{re.escape(package)}\..*" for package in self.packages)
        return "|".join([*rest, *grpc])

    @property
    def is_root(self) -> bool:
        """Whether it answers requests for paths that belong to no surface."""
        return "/" in self.prefixes

    def descriptor_set(self) -> bytes:
        """The descriptor set of its contract, serialized."""
        return files(self.descriptors).joinpath("descriptors.pb").read_bytes()

    def openapi(self) -> str:
        """The OpenAPI 3.1 document of its contract, JSON."""
        return files(self.descriptors).joinpath("openapi.json").read_text()

    def operations(self, service: str) -> Mapping[str, Operation]:
        """The descriptions of a service's methods besides its contract, by their names."""
        operations: Mapping[str, Operation] = {}
        if service in self.described:
            operations = resolve_name(self.described[service])
        return operations


def _of(error: ApiError, table: Mapping[str, T]) -> T | None:
    """What a table says of an error: by its reason, or by that of the nearest class that it derives from."""
    kinds = (kind for kind in type(error).__mro__ if issubclass(kind, ApiError))
    reasons = (error.reason, *(kind.reason for kind in kinds))
    return next((table[reason] for reason in reasons if reason in table), None)


class Surfaces:
    """Several surfaces, and which of them a request belongs to. Raises LookupError unless exactly one has `/`,
    and when two share a package.
    """

    def __init__(self, all_of_them: Sequence[Surface]) -> None:
        root = [surface for surface in all_of_them if surface.is_root]
        if len(root) != 1:
            names = ", ".join(sorted(surface.name for surface in root)) or "none"
            raise LookupError(f"one surface answers for `/`; these do: {names} ({GROUP})")
        self.root = root[0]
        others = (surface for surface in all_of_them if not surface.is_root)
        self._others = sorted(others, key=lambda surface: surface.name)
        self._of_package = {package: surface for surface in self for package in surface.packages}
        if len(self._of_package) < sum(len(surface.packages) for surface in self):
            raise LookupError(f"two surfaces have one proto package ({GROUP})")

    def __iter__(self) -> Iterator[Surface]:
        """Each surface, that of `/` last."""
        return iter((*self._others, self.root))

    def serve(self, process: str, server: grpc.aio.Server, parts: Any) -> None:
        """Add the servicers that surfaces bring along, see `Surface.serve`."""
        for surface in self:
            surface.serve(process, server, parts)

    def of_method(self, method: str) -> Surface | None:
        """The surface of `/package.Service/Method`; None for a method that is not ours."""
        service = method.removeprefix("/").partition("/")[0]
        return self._of_package.get(service.rpartition(".")[0])

    def of_path(self, path: str) -> Surface:
        """The surface of an HTTP path, which may have a query."""
        return next(
            (surface for surface in self._others if re.fullmatch(surface.paths, path)), self.root
        )


@cache
def surfaces() -> Surfaces:
    """The surfaces that are installed. The first call finds and makes them: services call it when they start."""
    return Surfaces([entry.load()() for entry in entry_points(group=GROUP)])

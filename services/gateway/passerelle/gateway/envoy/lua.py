"""Fills in what `envoy.lua` needs of the contracts and surfaces."""

import json
import re
from collections.abc import Iterable, Mapping
from importlib.resources import files

import grpc

from passerelle.gateway.contracts import lists_in_queries, methods
from passerelle.runtime import headers
from passerelle.runtime.errors import unnamed
from passerelle.runtime.surface import Surface, surfaces

_MESSAGE = "MESSAGE_OF_THE_SERVICE"
"""Stands for the message in bodies of errors that are made at start."""

_PLACE = re.compile(r"--\[\[ ([A-Z_]+) \]\]")


def script() -> str:
    """The source of the Lua filter."""
    parts = {
        "HEADERS": _strings(
            {name: value for name, value in vars(headers).items() if name.isupper()}
        ),
        "SURFACES": ", ".join(map(_surface, surfaces())),
        "ROOT": _string(surfaces().root.name),
        "CASELESS": _set(_caseless()),
        "LISTS": _set(lists_in_queries()),
        "VARIABLES": _set(n for m in methods() for b in m.bindings for n in b.spellings),
        "MESSAGE": _string(_MESSAGE),
    }
    text = files(__package__).joinpath("envoy.lua").read_text()
    return _PLACE.sub(lambda place: parts[place[1]], text)


def _caseless() -> Iterable[str]:
    """The first segments of paths that are read in any case."""
    caseless = (m for m in methods() if m.surface.case_insensitive)
    return (binding.template.split("/")[1] for method in caseless for binding in method.bindings)


def _surface(surface: Surface) -> str:
    bodies = {str(code.value[0]): _bare_body(surface, code) for code in grpc.StatusCode}
    http_1_0 = "true" if surface.http_1_0 else "false"
    return f"[{_string(surface.name)}] = {{ http_1_0 = {http_1_0}, bodies = {{ {_strings(bodies)} }} }}"


def _bare_body(surface: Surface, code: grpc.StatusCode) -> str:
    """The body of an error of which only the gRPC status and the message are known."""
    error = surface.shown(unnamed(code, _MESSAGE))
    return json.dumps(surface.body(error, status=error.http, user=None), separators=(",", ":"))


def _set(names: Iterable[str]) -> str:
    return ", ".join(f"[{_string(name)}] = true" for name in sorted(set(names)))


def _strings(values: Mapping[str, str]) -> str:
    return ", ".join(f"[{_string(name)}] = {_string(value)}" for name, value in values.items())


def _string(text: str) -> str:
    """A Lua literal: of ASCII, JSON's strings are Lua's, too."""
    return json.dumps(text)

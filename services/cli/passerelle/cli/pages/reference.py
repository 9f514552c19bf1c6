"""`docs/configuration.md`: the reference of every configuration key, made from the models that read the file."""

import json
import types
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from passerelle.runtime.config import plugins
from passerelle.runtime.config.sections import Plugin
from passerelle.runtime.config.site import site_model

_INTRODUCTION = """\
# Configuration

One YAML file describes a site. `passerelle config check FILE` checks it, `passerelle up --config FILE` serves it. A key
that is not listed here is an error. Examples to start from are in [`deploy/examples`](../deploy/examples).

A **secret** is best given as `secret_file:/path/to/file` or `env:NAME`; it may also stand in the file itself, to try
things out. Secrets are never printed or logged.

`passerelle up` fills in what is left open under `services`: free loopback addresses, and a service secret. The
environment variable `PASSERELLE_PORT` overrides the port of `gateway.listen` then.

*This page is generated: `passerelle config reference > docs/configuration.md`.*
"""


def reference_page() -> str:
    """The whole page, in Markdown: a table for every section, and for every installed plugin's options."""
    return "\n".join([_INTRODUCTION, *_sections("", site_model())])


def _sections(
    prefix: str, model: type[BaseModel], of_type: str = "", about: type | None = None
) -> Iterator[str]:
    """A heading and a table for `model`, whose keys start with `prefix`, and then for the sections inside it.

    `of_type` tells headings of the same keys apart, when they are options of a plugin. The text is that of `about`, or
    of the model.
    """
    own = {name: field for name, field in model.model_fields.items() if not _inner(field)}
    if prefix:
        yield f"## `{prefix.rstrip('.')}`{of_type}\n\n{_first_paragraph(about or model)}\n"
    if own:
        yield "| key | type | default | meaning |\n| --- | --- | --- | --- |"
        yield from (_row(name, field, model) for name, field in own.items())
        yield ""
    for name, field in model.model_fields.items():
        if inner := _inner(field):
            mark = _MARKS.get(get_origin(field.annotation), "") + "."
            yield from _sections(f"{prefix}{name}{mark}", inner, of_type)
    if issubclass(model, Plugin):
        yield from _options(prefix, model)


def _options(prefix: str, model: type[Plugin]) -> Iterator[str]:
    """The options of every installed plugin that can stand at `prefix`."""
    for name in plugins.names(model.group):
        plugin = plugins.load(model.group, name)
        of_type = f" for `type: {name}`"
        yield from _sections(f"{prefix}options.", plugin.Options, of_type, plugin)
        if not plugin.Options.model_fields:
            yield "No options.\n"


def _row(name: str, field: FieldInfo, model: type[BaseModel]) -> str:
    description = " ".join((field.description or "").split())
    kind = _type(field.annotation)
    if issubclass(model, Plugin) and name == "type":
        kind = _one_of(plugins.names(model.group))
    cells = (f"`{name}`", kind, _default(field), description)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _first_paragraph(model: type) -> str:
    return " ".join((model.__doc__ or "").split("\n\n")[0].split())


def _inner(field: FieldInfo) -> type[BaseModel] | None:
    """The section model inside a field's type, if there is one."""
    kinds = [field.annotation, *_parts(field.annotation)]
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)


def _parts(kind: Any) -> tuple[Any, ...]:
    return tuple(part for part in get_args(kind) if part not in (type(None), ...))


_MARKS: dict[Any, str] = {tuple: "[]", list: "[]", dict: ".NAME", Mapping: ".NAME"}
"""What follows the key of a section that stands there more than once."""


def _type(kind: Any) -> str:
    """A type in the reader's words."""
    origin, parts = get_origin(kind), _parts(kind)
    if origin is Annotated:
        return _type(parts[0])
    if origin in (Union, types.UnionType):
        return " or ".join(_type(part) for part in parts)
    if origin is Literal:
        return _one_of(parts)
    if origin in (tuple, list):
        return f"list of {_type(parts[0])}"
    if origin is dict:
        return "mapping"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _one_of(part.value for part in kind)
    return _NAMES.get(kind, getattr(kind, "__name__", str(kind)).lower())


def _one_of(choices: Iterable[Any]) -> str:
    return "one of " + ", ".join(f"`{choice}`" for choice in choices)


_NAMES: dict[Any, str] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    SecretStr: "secret",
}


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ((), {}, ""):
        return "none"
    return f"`{json.dumps(value, default=str)}`"

"""`passerelle config check`: whether a file is correct, and what it will not do.

What is to be said about a section stands beside it, in its `findings`; here they are asked, one by one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from passerelle.runtime import plugins
from passerelle.runtime.config import (
    ConfigError,
    KnownSecret,
    Plugin,
    Section,
    System,
    read,
    site_model,
)
from passerelle.runtime.config_faults import Places, faults
from passerelle.runtime.findings import Around, Finding, Key, note, wrong

_OPENING = {"any_audience", "any_issuer"}
"""Settings that open something, beside those whose names begin with `insecure_`."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found out, a line each with file, line and key. The file is correct when there are no errors."""

    errors: list[str]
    notes: list[str]


def check(path: Path) -> Checked:
    """Read the file, and all that it names."""
    try:
        text = read(path)
        site = site_model().parse(text, str(path))
    except ConfigError as error:
        return Checked(str(error).splitlines(), [])
    places = Places(text, str(path))
    found = _of(site, (), Around(site, path))
    told = [(one.fatal, f"{places.of(one.key)}: {one.text}") for one in found]
    return Checked(
        [line for fatal, line in told if fatal], [line for fatal, line in told if not fatal]
    )


def _of(value: Any, key: Key, around: Around) -> Iterator[Finding]:
    """What is to be said of the value at `key`, and of all that is in it."""
    match value:
        case System():
            yield from _of_section(value, key, replace(around, system=value))
        case Plugin():
            yield from _of_section(value, key, around)
            yield from _of_options(value, key, around)
        case Section():
            yield from _of_section(value, key, around)
        case KnownSecret():
            yield from (one.below(key) for one in value.findings(around))
        case tuple():
            for number, one in enumerate(value):
                yield from _of(one, (*key, number), around)
        case Mapping():
            for name, one in value.items():
                yield from _of(one, (*key, name), around)


def _of_section(section: Section, key: Key, around: Around) -> Iterator[Finding]:
    yield from (one.below(key) for one in section.findings(around))
    for name, field in type(section).model_fields.items():
        inner = getattr(section, name)
        if inner is True and (name.startswith("insecure_") or name in _OPENING):
            yield note(str(field.description), *key, name)
        yield from _of(inner, (*key, name), around)


def _of_options(plugin: Plugin, key: Key, around: Around) -> Iterator[Finding]:
    """What the plugin's options say; a word about them all stands at the plugin."""
    try:
        model = plugins.load(plugin.group, plugin.type).Options
    except (LookupError, ImportError) as error:
        yield wrong(str(error), *key, "type")
        return
    try:
        options = model.model_validate(plugin.options)
    except ValidationError as error:
        yield from (wrong(why, *key, "options", *inner) for inner, why in faults(error, model))
        return
    for one in _of(options, (), around):
        yield one.below((*key, "options") if one.key else key)

"""`passerelle config check`: whether a file is correct, and what it will not do.

What is to be said about a section stands beside it, in its `findings`; here they are asked, one by one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from passerelle.runtime import plugins
from passerelle.runtime.config.faults import Places, faults
from passerelle.runtime.config.findings import Around, Finding, Key, note, wrong
from passerelle.runtime.config.sections import KnownSecret, Plugin, Section
from passerelle.runtime.config.site import ConfigError, SiteBase, System, read, site_model

_OPENING = {"any_audience", "any_issuer", "reflection"}
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
    found = sorted(_findings(site, path), key=lambda one: places.line(one.key))
    told = [(one.fatal, f"{places.of(one.key)}: {one.text}") for one in found]
    errors, notes = ([line for fatal, line in told if fatal is which] for which in (True, False))
    return Checked(errors, notes)


def sections(site: SiteBase, path: Path) -> Iterator[tuple[Key, Section, Around]]:
    """Every section of a correct site, options of plugins among them, with its key."""
    for key, value, around in _all(site, (), Around(site, path)):
        if isinstance(value, Section):
            yield key, value, around


def _findings(site: SiteBase, path: Path) -> Iterator[Finding]:
    for key, value, around in _all(site, (), Around(site, path)):
        for one in value.findings(around):
            # A word about all options of a plugin stands at the plugin.
            yield one.below(key if one.key or key[-1:] != ("options",) else key[:-1])
        if isinstance(value, Section):
            yield from _opened(value, key)


def _opened(section: Section, key: Key) -> Iterator[Finding]:
    """The settings that are set although they open what is closed by default."""
    for name, field in type(section).model_fields.items():
        if getattr(section, name) is True and (name.startswith("insecure_") or name in _OPENING):
            yield note(str(field.description), *key, name)


class _Speaking(Protocol):
    """What has something to say: sections, secrets, and options that cannot be read."""

    def findings(self, around: Around) -> Iterator[Finding]:
        """See `Section.findings`."""
        ...


def _all(value: Any, key: Key, around: Around) -> Iterator[tuple[Key, _Speaking, Around]]:
    """All at and below the value at `key` that has something to say."""
    if isinstance(value, System):
        around = replace(around, system=value)
    if isinstance(value, Section | KnownSecret):
        yield key, value, around
    for part, inner in _parts(value):
        yield from _all(inner, (*key, part), around)
    if isinstance(value, Plugin):
        options = _options(value)
        if isinstance(options, Section):
            yield from _all(options, (*key, "options"), around)
        else:
            yield key, options, around


def _parts(value: Any) -> Iterator[tuple[str | int, Any]]:
    match value:
        case Section():
            yield from ((name, getattr(value, name)) for name in type(value).model_fields)
        case tuple():
            yield from enumerate(value)
        case Mapping():
            yield from value.items()


@dataclass(frozen=True, slots=True)
class _Unusable:
    """A plugin that is not there, or does not take its options."""

    told: tuple[Finding, ...]

    def findings(self, around: Around) -> Iterator[Finding]:
        """See `Section.findings`."""
        yield from self.told


def _options(plugin: Plugin) -> Section | _Unusable:
    try:
        model = plugins.load(plugin.group, plugin.type).Options
    except (LookupError, ImportError) as error:
        return _Unusable((wrong(str(error), "type"),))
    try:
        options: Section = model.model_validate(plugin.options)
    except ValidationError as error:
        found = faults(error, model)
        return _Unusable(tuple(wrong(why, "options", *inner) for inner, why in found))
    return options

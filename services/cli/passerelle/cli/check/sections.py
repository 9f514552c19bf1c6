"""All sections of a configuration, wherever they stand, with their keys."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from passerelle.runtime.config import plugins
from passerelle.runtime.config.faults import faults
from passerelle.runtime.config.findings import Finding, Key, SectionContext, problem
from passerelle.runtime.config.sections import KnownSecret, Plugin, Section
from passerelle.runtime.config.site import SiteBase, System


class Checkable(Protocol):
    """What can be checked: a section, a secret, or the options of a plugin that cannot be read."""

    def findings(self, context: SectionContext) -> Iterator[Finding]:
        """See `Section.findings`."""
        ...


def checkables(site: SiteBase, path: Path) -> Iterator[tuple[Key, Checkable, SectionContext]]:
    """Everything in a correct site that can be checked, with its key; `path` is the site's file."""
    return _at(site, (), SectionContext(site, path))


def sections(site: SiteBase, path: Path) -> Iterator[tuple[Section, SectionContext]]:
    """Every section of a correct site, options of plugins among them; `path` is the site's file."""
    for _, value, context in checkables(site, path):
        if isinstance(value, Section):
            yield value, context


def _at(
    value: Any, key: Key, context: SectionContext
) -> Iterator[tuple[Key, Checkable, SectionContext]]:
    """What can be checked of the value at `key`, and of all below it."""
    if isinstance(value, System):
        context = replace(context, system=value)
    if isinstance(value, Section | KnownSecret):
        yield key, value, context
    for name, inner in _members(value):
        yield from _at(inner, (*key, name), context)
    if isinstance(value, Plugin):
        options = _options(value)
        if isinstance(options, Section):
            yield from _at(options, (*key, "options"), context)
        else:
            yield key, options, context


def _members(value: Any) -> Iterator[tuple[str | int, Any]]:
    match value:
        case Section():
            yield from ((name, getattr(value, name)) for name in type(value).model_fields)
        case tuple():
            yield from enumerate(value)
        case Mapping():
            yield from value.items()


@dataclass(frozen=True, slots=True)
class _UnusablePlugin:
    """A plugin that is not installed, or does not accept its options."""

    errors: tuple[Finding, ...]

    def findings(self, context: SectionContext) -> Iterator[Finding]:
        """See `Section.findings`."""
        yield from self.errors


def _options(plugin: Plugin) -> Section | _UnusablePlugin:
    try:
        model = plugins.load(plugin.group, plugin.type).Options
    except (LookupError, ImportError) as error:
        return _UnusablePlugin((problem(str(error), "type"),))
    try:
        options: Section = model.model_validate(plugin.options)
    except ValidationError as error:
        reasons = faults(error, model)
        return _UnusablePlugin(tuple(problem(why, "options", *key) for key, why in reasons))
    return options

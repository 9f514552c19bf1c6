"""Finding plugins by name. Called at start only: a wrong configuration stops a service, never a request."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, reduce
from importlib.metadata import EntryPoint, entry_points
from operator import or_
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema

from passerelle.runtime.config.faults import closest, faults
from passerelle.runtime.config.sections import Plugin
from passerelle.runtime.config.site import ConfigError


@cache
def installed(group: str) -> Mapping[str, EntryPoint]:
    """The entry points of a group by their names, as they were at the first question.

    Each look reads the metadata of all installed distributions, which takes tens of milliseconds.
    """
    return {entry.name: entry for entry in entry_points(group=group)}


def names(group: str) -> list[str]:
    """The names registered in an entry-point group, sorted."""
    return sorted(installed(group))


def load(group: str, name: str) -> Any:
    """The object registered as `name` in `group`; LookupError for an unknown name lists the known ones."""
    plugins = installed(group)
    if name not in plugins:
        names = ", ".join(sorted(plugins))
        raise LookupError(f"no plugin {name!r}{closest(name, plugins)}; installed: {names}")
    return plugins[name].load()


@dataclass(frozen=True, slots=True)
class OneOfInstalled:
    """In an `Annotated`: tells pydantic that a value is one of the models of the plugins that are installed in `group`.

    `models` are those of one plugin, which is what `load` returns. `discriminator` is the field by whose value the
    models are told apart, if one is.
    """

    group: str
    models: Callable[[Any], Iterable[type]]
    discriminator: str | None = None

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """See pydantic, "Customizing validation with `__get_pydantic_core_schema__`"."""
        plugins = (load(self.group, name) for name in names(self.group))
        union: Any = reduce(or_, (model for plugin in plugins for model in self.models(plugin)))
        if self.discriminator:
            union = Annotated[union, Field(discriminator=self.discriminator)]
        return handler.generate_schema(union)


def make(setting: str, chosen: Plugin, *arguments: Any) -> Any:
    """The plugin that the configuration chose: its class, called with `arguments` and its `Options`.

    Raises ConfigError that names `setting` and what is wrong: an unknown plugin, a wrong option, a file it cannot read.
    """
    try:
        kind = load(chosen.group, chosen.type)
    except LookupError as error:
        raise ConfigError(f"{setting}.type: {error}") from None
    try:
        return kind(*arguments, kind.Options.model_validate(chosen.options))
    except ValidationError as error:
        lines = [
            f"{setting}.options.{'.'.join(map(str, key))}: {why}"
            for key, why in faults(error, kind.Options)
        ]
        raise ConfigError("\n".join(lines)) from None
    except ConfigError as error:
        raise ConfigError(f"{setting}.options: {error}") from None
    except OSError as error:
        raise ConfigError(f"{setting}.options: {error.filename}: {error.strerror}") from None

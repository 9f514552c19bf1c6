"""A system's preferred staging method as FirecREST v2 shows it in `/status/systems`; secrets never."""

from typing import Annotated, Any

from pydantic import ValidationError

from passerelle.runtime.config import plugins
from passerelle.runtime.config.plugins import OneOfInstalled
from passerelle.runtime.config.sections import Plugin
from passerelle.runtime.config.site import ConfigError, Staging, System

StagingReply = Annotated[
    dict[str, Any], OneOfInstalled(Staging.group, lambda kind: [kind.wire.service])
]
"""A method as it shows itself."""


def staging_reply(system: System) -> StagingReply | None:
    """The first of the system's methods that is installed here; None without one.

    Raises ConfigError for options with which it cannot be shown.
    """
    methods, installed = system.data_operation.staging, plugins.names(Staging.group)
    chosen = next((method for method in methods if method.type in installed), None)
    if chosen is None:
        return None
    kind = plugins.load(Staging.group, chosen.type)
    try:
        return dict(kind.wire.service.of(_options(kind, chosen)).json_form())
    except (KeyError, ValidationError):
        raise ConfigError(
            f"systems ({system.name}): data_operation.staging ({chosen.type}).options: "
            "wrong, or incomplete; see `passerelle config check`"
        ) from None


def _options(kind: Any, chosen: Plugin) -> dict[str, Any]:
    """The options as they stand in the file, with defaults for the others: no file of a secret is read."""
    defaults = {
        name: field.get_default(call_default_factory=True)
        for name, field in kind.Options.model_fields.items()
        if not field.is_required()
    }
    return defaults | chosen.options

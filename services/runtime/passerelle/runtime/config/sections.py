"""The base of every section of the configuration, secrets, and plugins with options of their own."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr

from passerelle.runtime.config.findings import Finding, SectionContext, exposed, note
from passerelle.runtime.config.trials import SystemLogin, Trial


class Section(BaseModel):
    """Base of every configuration section: frozen, and a misspelt key is an error.

    The docstring below a key is its description: in `passerelle config reference`, and where `config check` names it.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    def findings(self, context: SectionContext) -> Iterator[Finding]:
        """Findings of `passerelle config check` beyond its values: about files that it names, or other sections.

        None by default. Sections inside this one yield their own.
        """
        yield from ()

    def trials(self, context: SectionContext) -> Iterator[Trial]:
        """The trials of `passerelle config check --connect` that need no login; none by default."""
        yield from ()

    def login_trials(self, login: SystemLogin) -> Iterator[Trial]:
        """The trials of `passerelle config check --connect` on a system; none by default."""
        yield from ()


class KnownSecret(SecretStr):
    """A secret that knows where it was read: from `file`, or if that is None, the environment or the configuration."""

    def __init__(self, value: str, *, file: Path | None = None, written: bool = False) -> None:
        super().__init__(value)
        self.file = file
        self.written = written
        """Whether it stands in the configuration file itself."""

    def findings(self, context: SectionContext) -> Iterator[Finding]:
        """See `Section.findings`."""
        if self.file and (reason := exposed(self.file)):
            yield note(reason)
        if self.written:
            reason = exposed(context.file)
            more = f"; {reason}" if reason else ""
            yield note(f"stands in this file; better `secret_file:/path` or `env:NAME`{more}")


def _read_secret(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.startswith("secret_file:"):
        return _secret_of_file(Path(value.removeprefix("secret_file:")).expanduser())
    if value.startswith("env:"):
        name = value.removeprefix("env:")
        if not os.environ.get(name):
            how = "empty" if name in os.environ else "not set"
            raise ValueError(f"the environment variable {name} is {how}")
        return KnownSecret(os.environ[name])
    if not value:
        raise ValueError("the secret is empty")
    return KnownSecret(value, written=True)


def _secret_of_file(path: Path) -> KnownSecret:
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not text:
        raise ValueError(f"{path}: the secret is empty")
    return KnownSecret(text, file=path)


Secret = Annotated[SecretStr, BeforeValidator(_read_secret)]
"""A secret: `secret_file:/path`, `env:NAME`, or (for trying things out) the text itself. Never printed."""


class Plugin(Section):
    """A plugin's name, and the options that only the plugin understands."""

    group: ClassVar[str]
    """The group of entry points among which its type is registered."""

    type: str
    """The plugin's registered name."""
    options: dict[str, Any] = {}
    """The plugin's own options."""

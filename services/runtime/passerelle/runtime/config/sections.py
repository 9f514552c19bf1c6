"""What every section of the configuration is made of: its base, secrets, and plugins with options of their own."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from passerelle.runtime.config.findings import Around, Finding, exposed, note
from passerelle.runtime.config.trials import LoggedIn, Trial


class Section(BaseModel):
    """Base of every configuration section: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )

    def findings(self, around: Around) -> Iterator[Finding]:
        """What `passerelle config check` has to say of it beyond its values: of files it names, of other sections.

        Nothing, unless a section says it. What is inside it speaks for itself.
        """
        yield from ()

    def trials(self, around: Around) -> Iterator[Trial]:
        """What `passerelle config check --connect` tries for it, from here."""
        yield from ()

    def trials_on(self, on: LoggedIn) -> Iterator[Trial]:
        """What `passerelle config check --connect` tries for it on a system."""
        yield from ()


class KnownSecret(SecretStr):
    """A secret that knows where it was read; `file` is None for one of the environment, or of the text itself."""

    def __init__(self, value: str, *, file: Path | None = None, written: bool = False) -> None:
        super().__init__(value)
        self.file = file
        self.written = written
        """Whether it stands in the configuration file."""

    def findings(self, around: Around) -> Iterator[Finding]:
        """See `Section.findings`."""
        if self.file and (told := exposed(self.file)):
            yield note(told)
        if self.written:
            seen = exposed(around.file)
            told = f"; {seen}" if seen else ""
            yield note(f"stands in this file; better `secret_file:/path` or `env:NAME`{told}")


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
        found = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not found:
        raise ValueError(f"{path}: the secret is empty")
    return KnownSecret(found, file=path)


Secret = Annotated[SecretStr, BeforeValidator(_read_secret)]
"""A secret: `secret_file:/path`, `env:NAME`, or (for trying things out) the text itself. Never printed."""


class Plugin(Section):
    """A plugin's name, and the options that only the plugin understands."""

    group: ClassVar[str]
    """The entry points among which its type is found."""

    type: str = Field(description="The plugin's registered name.")
    options: dict[str, Any] = Field(default={}, description="The plugin's own options.")

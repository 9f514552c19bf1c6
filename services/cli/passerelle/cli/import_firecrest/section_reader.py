"""Reads a FirecREST v2 configuration so that no key of it is skipped silently."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.alias_generators import to_camel

from passerelle.runtime.config.site import ConfigError

_IN_THE_FILE = (
    "this secret stands in the file, and so in the result: nobody else may read either; better "
    "`secret_file:/path` or `env:NAME`"
)


class SectionReader:
    """One section of the file, at the key `key`. Keys that nobody has read are named in `notes` by `finish`.

    Keys are given in snake_case here; the file may have them in camelCase, too, as with FirecREST.
    """

    def __init__(self, data: Any, key: str, notes: list[str]) -> None:
        if data is not None and not isinstance(data, Mapping):
            raise ConfigError(f"{key}: must be a mapping")
        self.key = key
        self.notes = notes
        self._unread: dict[str, Any] = dict(data or {})

    def __contains__(self, name: str) -> bool:
        return self._unread.get(self._spelling(name)) is not None

    def take(self, name: str, default: Any = None) -> Any:
        """The value of a key, which counts as read then; `default` when it is absent or null."""
        value = self._unread.pop(self._spelling(name), None)
        return default if value is None else value

    def require(self, name: str) -> Any:
        """The value of a key without which FirecREST would not start; ConfigError names it when it is absent."""
        if (value := self.take(name)) is None:
            raise ConfigError(f"{self.key_of(name)}: missing")
        return value

    def section(self, name: str) -> "SectionReader":
        """The section at a key; an empty one when it is absent."""
        return SectionReader(self.take(name), self.key_of(name), self.notes)

    def sections(self, name: str) -> Iterator["SectionReader"]:
        """The sections in the list at a key."""
        values = self.take(name, [])
        if not isinstance(values, list):
            raise ConfigError(f"{self.key_of(name)}: must be a list")
        for number, value in enumerate(values):
            yield SectionReader(value, f"{self.key_of(name)}.{number}", self.notes)

    def named_sections(self) -> dict[str, "SectionReader"]:
        """All sections that are unread in this one, where its keys are names and not settings."""
        unread, self._unread = self._unread, {}
        return {
            str(name): SectionReader(value, self.key_of(str(name)), self.notes)
            for name, value in unread.items()
        }

    def rename(self, **names: str) -> dict[str, Any]:
        """The values of those keys that are there, by our names for them: `ours="theirs"`."""
        values = {ours: self.take(theirs) for ours, theirs in names.items()}
        return {ours: value for ours, value in values.items() if value is not None}

    def secret(self, name: str) -> Any:
        """As `require`, for a secret; adds a note when it stands in the file itself."""
        value = self.require(name)
        if not str(value).startswith(("secret_file:", "env:")):
            self.note(_IN_THE_FILE, name)
        return value

    def drop(self, name: str, reason: str) -> None:
        """Add a note that a key is not carried over, when it is there and not empty."""
        if self.take(name) not in (None, "", [], {}, False):
            self.note(f"not carried over: {reason}", name)

    def note(self, text: str, name: str = "") -> None:
        """Add a note for the operator about this section, or about a key of it."""
        self.notes.append(f"{self.key_of(name) if name else self.key}: {text}")

    def finish(self) -> None:
        """Add a note for each key that nobody has read."""
        for name in list(self._unread):
            self.drop(name, "Passerelle has no such setting")

    def key_of(self, name: str) -> str:
        """The full key of one of this section's keys."""
        return f"{self.key}.{name}".removeprefix(".")

    def _spelling(self, name: str) -> str:
        return name if name in self._unread else to_camel(name)

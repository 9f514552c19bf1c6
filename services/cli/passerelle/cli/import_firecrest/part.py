"""Reading a FirecREST v2 configuration so that nothing in it is passed over in silence."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.alias_generators import to_camel

from passerelle.runtime.config.site import ConfigError

_IN_THE_FILE = (
    "this secret stands in the file, and so in the result: nobody else may read either; better "
    "`secret_file:/path` or `env:NAME`"
)


class Part:
    """A mapping of the file, at the key `key`. What nobody takes out of it is named in `notes` at its end.

    Keys are asked for in snake_case and found in camelCase too, as FirecREST finds them.
    """

    def __init__(self, data: Any, key: str, notes: list[str]) -> None:
        if data is not None and not isinstance(data, Mapping):
            raise ConfigError(f"{key}: must be a mapping")
        self.key = key
        self.notes = notes
        self._left: dict[str, Any] = dict(data or {})

    def __contains__(self, name: str) -> bool:
        return self._left.get(self._spelt(name)) is not None

    def take(self, name: str, default: Any = None) -> Any:
        """The value of a key, which counts as carried over then; `default` when it is absent or null."""
        value = self._left.pop(self._spelt(name), None)
        return default if value is None else value

    def demand(self, name: str) -> Any:
        """The value of a key without which FirecREST would not start; ConfigError names it when it is absent."""
        if (value := self.take(name)) is None:
            raise ConfigError(f"{self.at(name)}: missing")
        return value

    def part(self, name: str) -> "Part":
        """The mapping at a key; an empty one when it is absent."""
        return Part(self.take(name), self.at(name), self.notes)

    def parts(self, name: str) -> Iterator["Part"]:
        """The mappings in the list at a key."""
        values = self.take(name, [])
        if not isinstance(values, list):
            raise ConfigError(f"{self.at(name)}: must be a list")
        for number, value in enumerate(values):
            yield Part(value, f"{self.at(name)}.{number}", self.notes)

    def named(self) -> dict[str, "Part"]:
        """All mappings that are left in this one, when its keys are names and not settings."""
        left, self._left = self._left, {}
        return {
            str(name): Part(value, self.at(str(name)), self.notes) for name, value in left.items()
        }

    def rename(self, **names: str) -> dict[str, Any]:
        """The keys that are there, by our names for them: `ours="theirs"`."""
        found = {ours: self.take(theirs) for ours, theirs in names.items()}
        return {ours: value for ours, value in found.items() if value is not None}

    def secret(self, name: str) -> Any:
        """As `demand`, for a secret: one that stands in the file itself is named."""
        value = self.demand(name)
        if not str(value).startswith(("secret_file:", "env:")):
            self.note(_IN_THE_FILE, name)
        return value

    def leave(self, name: str, why: str) -> None:
        """Name a key as not carried over, when it is there and says anything."""
        if self.take(name) not in (None, "", [], {}, False):
            self.note(f"not carried over: {why}", name)

    def note(self, text: str, name: str = "") -> None:
        """Tell the operator something about this part, or about a key of it."""
        self.notes.append(f"{self.at(name) if name else self.key}: {text}")

    def end(self) -> None:
        """Name what is left."""
        for name in list(self._left):
            self.leave(name, "Passerelle has no such setting")

    def at(self, name: str) -> str:
        """The whole key of one of our keys."""
        return f"{self.key}.{name}".removeprefix(".")

    def _spelt(self, name: str) -> str:
        return name if name in self._left else to_camel(name)

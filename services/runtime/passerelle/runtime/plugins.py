"""Finding plugins by name. Called at start only: a wrong configuration stops a service, never a request."""

from importlib.metadata import entry_points
from typing import Any


def names(group: str) -> list[str]:
    """The names registered in an entry-point group, sorted."""
    return sorted(entry.name for entry in entry_points(group=group))


def load(group: str, name: str) -> Any:
    """The object registered as `name` in `group`; LookupError for an unknown name lists the known ones."""
    found = {entry.name: entry for entry in entry_points(group=group)}
    if name not in found:
        raise LookupError(f"no plugin {name!r} in {group}; installed: {', '.join(sorted(found))}")
    return found[name].load()

"""The directory of systems: their configuration, and their newest health."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from passerelle.gateway.directory.checks import Service
from passerelle.runtime.config.site import System
from passerelle.runtime.errors import NotFound

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Health:
    """The health of one service of a system.

    `path` is the filesystem's, for FILESYSTEM. `message` is what the last check said or why it failed, `checked` when
    it began, `latency` how long it took, in s.
    """

    service: Service
    path: str | None
    healthy: bool
    message: str | None
    checked: datetime
    latency: float


@dataclass(frozen=True, slots=True)
class Listed:
    """A system with its newest health; `last_check` is when the last round of checks ended, None before the first."""

    system: System
    health: tuple[Health, ...] = ()
    last_check: datetime | None = None


class Directory:
    """All systems, in the order of the configuration. Answers from memory, always at once."""

    def __init__(self, systems: Sequence[System]) -> None:
        self._listed = {system.name: Listed(system) for system in systems}
        self._all = tuple(self._listed.values())

    def all(self) -> tuple[Listed, ...]:
        """Every system: the same tuple until one of them changes."""
        return self._all

    def get(self, name: str) -> Listed:
        """The system of that name; raises NotFound."""
        if name not in self._listed:
            raise NotFound("System not found", system=name)
        return self._listed[name]

    def record(self, name: str, health: Sequence[Health]) -> None:
        """Remember the results of one round of checks of a system."""
        system = self._listed[name].system
        self._listed[name] = Listed(system, tuple(health), datetime.now(UTC))
        self._all = tuple(self._listed.values())


class Rendering(Generic[T]):
    """What `render` makes of all systems: kept, and made again only after a system has changed."""

    def __init__(self, directory: Directory, render: Callable[[Sequence[Listed]], T]) -> None:
        self._directory = directory
        self._render = render
        self._systems = directory.all()
        self._rendered = render(self._systems)

    def newest(self) -> T:
        """What `render` makes of the systems with their newest health."""
        systems = self._directory.all()
        if systems is not self._systems:
            self._systems, self._rendered = systems, self._render(systems)
        return self._rendered

"""The systems that requests name."""

from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

from passerelle.runtime.config.site import System
from passerelle.runtime.errors import NotFound


class SystemContext(Protocol):
    """What a servicer uses of one system: each declares its own."""

    @property
    def config(self) -> System:
        """What the configuration file says of it."""
        ...


C = TypeVar("C", bound=SystemContext)


class Systems(Generic[C]):
    """What one servicer uses of each system, by the system's name; `notice` is told of every name that is asked for."""

    def __init__(self, contexts: Mapping[str, C], notice: Callable[[str], None]) -> None:
        self._contexts = contexts
        self._notice = notice

    def named(self, name: str) -> C:
        """The system of that name, for a request of the current caller; raises NotFound."""
        if name not in self._contexts:
            raise NotFound("System not found", system=name)
        self._notice(name)
        return self._contexts[name]

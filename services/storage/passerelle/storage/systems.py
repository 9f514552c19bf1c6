"""The systems that requests name."""

from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

from passerelle.runtime.config.site import System
from passerelle.runtime.errors import NotFound


class SystemContext(Protocol):
    """The parts of one system that a servicer uses; each servicer declares its own class."""

    @property
    def config(self) -> System:
        """The system's entry in the configuration file."""
        ...


C = TypeVar("C", bound=SystemContext, covariant=True)


class Systems(Generic[C]):
    """The contexts of all systems, by the system's name; `notice` is called with every name that is looked up."""

    def __init__(self, contexts: Mapping[str, C], notice: Callable[[str], None]) -> None:
        self._contexts = contexts
        self._notice = notice

    def named(self, name: str) -> C:
        """The system of that name, for a request of the current caller; raises NotFound."""
        if name not in self._contexts:
            raise NotFound("System not found", system=name)
        self._notice(name)
        return self._contexts[name]


class SystemsServicer(Generic[C]):
    """A servicer whose requests each name a system; it uses the parts of the system that the context `C` declares."""

    def __init__(self, systems: Systems[C]) -> None:
        self._systems = systems

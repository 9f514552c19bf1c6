"""The schedulers of a site's systems, by the systems' names."""

from collections.abc import Mapping

from passerelle.compute.scheduler import Scheduler
from passerelle.runtime.errors import NotFound

Schedulers = Mapping[str, Scheduler]


def scheduler_of(schedulers: Schedulers, system: str) -> Scheduler:
    """The scheduler of `system`; NotFound for a system that the site does not have."""
    scheduler = schedulers.get(system)
    if scheduler is None:
        raise NotFound("System not found")
    return scheduler

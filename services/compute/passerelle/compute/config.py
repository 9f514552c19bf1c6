"""The `compute` section of the configuration file."""

from pydantic import Field

from passerelle.runtime.config.sections import Section


class ComputeSection(Section):
    """How long the compute service caches schedulers' answers."""

    cache_seconds: float = Field(default=1.0, ge=0)
    """How long a scheduler's answer is reused for identical questions of the same user, s. A user's own submit or
    cancel ends it at once."""

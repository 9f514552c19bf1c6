"""The `compute` section of the configuration file."""

from pydantic import Field

from passerelle.runtime.config import Section


class ComputeSection(Section):
    """How the compute service spares the schedulers."""

    cache_seconds: float = Field(
        default=1.0,
        ge=0,
        description="How long answers of the scheduler's controller are reused, per user, s.",
    )
    history_cache_seconds: float = Field(
        default=10.0,
        ge=0,
        description="How long answers of the accounting database are reused, per user, s.",
    )

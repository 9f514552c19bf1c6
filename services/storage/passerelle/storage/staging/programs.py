"""The programs of transfer jobs, as text that is sent along with them."""

from passerelle.runtime.shipping import program


def job_program(*modules: str) -> str:
    """The source of a transfer job's program: `modules` of this package, after what every one of them stands on."""
    own = (f"staging.{name}" for name in ("remote.job", *modules))
    shared = ("remote.outcome", "remote.boundary", "remote.changing.targets")
    return program("passerelle.storage", *shared, *own)

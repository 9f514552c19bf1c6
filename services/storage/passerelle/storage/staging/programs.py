"""The programs of transfer jobs, as text that is sent along with them."""

from passerelle.runtime.shipping import program

_SHARED = (
    "passerelle.storage.remote.outcome",
    "passerelle.storage.remote.boundary",
    "passerelle.storage.remote.changing.targets",
    "passerelle.storage.staging.remote.job",
    "passerelle.storage.staging.remote.arriving",
    "passerelle.storage.staging.remote.one_file",
)


def job_program(*modules: str) -> str:
    """The source of a transfer job's program: the modules that all methods share, then the method's own.

    `modules` are full names, each after those that it imports. The last one is run."""
    return program(*_SHARED, *modules)

"""The staging port: methods that move bulk data without the gateway.

Each method has a folder, is registered in the entry-point group `passerelle.staging`, and is chosen by
`data_operation.staging` of a system. It submits a transfer job on the system, and returns instructions for the client.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from passerelle.storage.jobs.port import SubmittedJob
from passerelle.storage.staging.wire import Instructions, Parameters, WireForm

P = TypeVar("P", bound=Parameters)


@dataclass(frozen=True, slots=True)
class StagingRequest(Generic[P]):
    """A file to upload or download: its absolute `path` on the system, the request's `parameters` for the method, and
    the `account` of the transfer job."""

    path: str
    parameters: P = field(repr=False)
    account: str | None = None


@dataclass(frozen=True, slots=True)
class Staged:
    """A transfer that has begun: its job on the system, and the instructions for the client."""

    job: SubmittedJob
    instructions: Instructions = field(repr=False)


class Staging(Protocol):
    """One staging method of one system, as the current caller.

    Its class has a nested `Options(Section)`, and is called as `Plugin(system, files, jobs, options)`, where `files`
    are the system's Files and `jobs` its TransferJobs. Requests use its registered name.
    """

    @property
    def wire(self) -> WireForm:
        """Its models in both APIs; an attribute of the class."""
        ...

    async def upload(self, request: StagingRequest[Any]) -> Staged:
        """Submit the job for an upload; the request's `parameters` are a `wire.upload`.

        Raises the errors of submitting the job, InvalidArgument for missing parameters, and BackendUnavailable when a
        server that the method uses cannot be reached. A failed call leaves nothing behind."""
        ...

    async def download(self, request: StagingRequest[Any]) -> Staged:
        """Submit the job for a download; the request's `parameters` are a `wire.download`.

        Raises as `upload`, and FileError for a file that cannot be read."""
        ...


@runtime_checkable
class LeavesElsewhere(Protocol):
    """A staging method whose transfers leave data outside of the system, if their job cannot tidy up."""

    async def remove(self, elsewhere: Mapping[str, str]) -> bool:
        """Remove the remains of a transfer of the current caller; False when it is not one of this method.

        `elsewhere` is that of the `Leftovers` of its job, read from a file that its user can change. It must not be
        able to remove data of other users. Raises BackendUnavailable to be called again later.
        """
        ...

"""The staging port: ways for bulk data that do not pass the gateway.

One folder per method, registered in the entry-point group `passerelle.staging` and chosen by `data_operation.staging`
of a system. A method submits a transfer job on the system, and tells the caller's side what it has to do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from passerelle.storage.jobs.port import SubmittedJob
from passerelle.storage.staging.wire import Instructions, Parameters, WireForm

P = TypeVar("P", bound=Parameters)


@dataclass(frozen=True, slots=True)
class StagingRequest(Generic[P]):
    """A file to come or to leave: its absolute `path` on the system, what the request says to the method besides,
    and the `account` of the transfer job."""

    path: str
    parameters: P = field(repr=False)
    account: str | None = None


@dataclass(frozen=True, slots=True)
class Staged:
    """A transfer that has begun: its job on the system, and what the caller's side has to do."""

    job: SubmittedJob
    instructions: Instructions = field(repr=False)


class Staging(Protocol):
    """One staging method of one system, as the current caller.

    Its class has a nested `Options(Section)`, and is made as `Plugin(system, files, jobs, options)`, where `files` are
    the system's Files and `jobs` its TransferJobs. Its registered name is what requests call it.
    """

    @property
    def wire(self) -> WireForm:
        """How it looks in both APIs: an attribute of the class."""
        ...

    async def upload(self, request: StagingRequest[Any]) -> Staged:
        """Let a file come; the request's `parameters` are a `wire.upload`. Raises what submitting the job raises, and
        InvalidArgument for what the method needs to know; BackendUnavailable when what it stages with cannot be
        reached. Leaves nothing behind when it raises."""
        ...

    async def download(self, request: StagingRequest[Any]) -> Staged:
        """Let a file leave; the request's `parameters` are a `wire.download`. Raises as `upload` does, and FileError
        for a file that cannot be read."""
        ...


@runtime_checkable
class LeavesElsewhere(Protocol):
    """A staging method whose transfers leave something that is not on the system, if their job cannot tidy up."""

    async def remove(self, elsewhere: Mapping[str, str]) -> bool:
        """Remove what a transfer of the current caller left, and tell whether it was one of this method.

        `elsewhere` is what the method's `Leftovers` said when the job was submitted, but read from a file that its
        user can write: it must lead to nothing that is not this user's. Raises BackendUnavailable to be asked again.
        """
        ...

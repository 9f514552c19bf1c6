"""The staging port: roads for bulk data beside the gateway.

One module per method, registered in the entry-point group `passerelle.staging` and chosen by `data_operation.staging`
of a system. A method submits a transfer job on the system, and tells the caller's side what it has to do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from passerelle.runtime.errors import InvalidArgument
from passerelle.storage.jobs.port import SubmittedJob


@dataclass(frozen=True, slots=True)
class Inbound:
    """A file to come: its absolute `path` on the system, its `size` in bytes where the caller told it, the `account` of
    the transfer job, and the `code` that the sender's wormhole printed."""

    path: str
    size: int | None = None
    account: str | None = None
    code: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Outbound:
    """A file to leave: its absolute `path` on the system, and the `account` of the transfer job."""

    path: str
    account: str | None = None


@dataclass(frozen=True, slots=True)
class PartUrls:
    """Presigned URLs for an upload: one to PUT each part of `part_size` bytes, one to POST the list of parts."""

    parts: tuple[str, ...] = field(repr=False)
    complete: str = field(repr=False)
    part_size: int


@dataclass(frozen=True, slots=True)
class DownloadUrl:
    """A presigned URL to GET, once the job has completed."""

    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Coordinates:
    """How to reach a streaming job: addresses, ports and a secret that works once, in URL-safe base64."""

    encoded: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Code:
    """A wormhole code; None where the caller knows it already."""

    code: str | None = field(repr=False)


Directives = PartUrls | DownloadUrl | Coordinates | Code
"""What the caller's side has to do."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A transfer that has begun: its job on the system, and what the caller's side has to do."""

    job: SubmittedJob
    directives: Directives


class Staging(Protocol):
    """One staging method of one system, as the current caller.

    Its class has a nested `Options(Section)` and is made as `Plugin(system, files, jobs, options)`, where `files` are
    the system's Files and `jobs` its TransferJobs. Its registered name is what requests call it.
    """

    async def upload(self, inbound: Inbound) -> Staged:
        """Let a file come. Raises what submitting the job raises, and InvalidArgument for what the method needs to
        know; BackendUnavailable when what it stages with cannot be reached. Leaves nothing behind when it raises."""
        ...

    async def download(self, outbound: Outbound) -> Staged:
        """Let a file leave. Raises as `upload` does, and FileError for a file that cannot be read."""
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


def method_of(methods: Mapping[str, Staging], name: str | None) -> Staging:
    """The staging method of that name, the first when none is asked for; InvalidArgument says which there are."""
    found = methods.get(name or next(iter(methods), ""))
    if found is None:
        there = f"Available on this system: {', '.join(methods) or 'none'}."
        raise InvalidArgument(f"Requested transfer method is not available. {there}")
    return found

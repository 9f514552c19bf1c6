"""The bodies and replies of FirecREST v2's transfers, in all spellings."""

from typing import Annotated, Any

from typing_extensions import TypedDict

from passerelle.runtime.config.plugins import OneOfInstalled
from passerelle.runtime.config.site import Staging
from passerelle.storage.firecrest.ops_bodies import CompressBody, ExtractBody, PathBody, TargetBody
from passerelle.storage.staging.wire import Parameters
from passerelle.surfaces.firecrest.bodies import Model, Text


class JobBody(PathBody):
    """The members of all bodies: the path of the file, and the account of the job."""

    account: Text | None = None


class TargetJobBody(TargetBody, JobBody):
    """A source and a target."""


class CopyJobBody(TargetJobBody):
    """A copy; `dereference` copies the targets of links."""

    dereference: bool = False


class CompressJobBody(CompressBody, TargetJobBody):
    """An archive to make; `matchPattern` is a regular expression of find(1) for the paths of files."""


class ExtractJobBody(ExtractBody, TargetJobBody):
    """An archive to unpack into the directory `targetPath`."""


class RemoveQuery(Model):
    """The account of the job."""

    account: Text | None = None


class UploadBody(JobBody):
    """An upload; `path` is that of the file."""

    transfer_directives: Annotated[
        Parameters,
        OneOfInstalled(Staging.group, lambda method: [method.wire.upload], "transfer_method"),
    ]


class DownloadBody(JobBody):
    """A download."""

    transfer_directives: Annotated[
        Parameters,
        OneOfInstalled(Staging.group, lambda method: [method.wire.download], "transfer_method"),
    ]


class LogsReply(TypedDict):
    """The absolute paths of the job's output."""

    outputLog: str
    errorLog: str


class TransferJobReply(TypedDict):
    """The job of a transfer."""

    jobId: str
    system: str
    workingDirectory: str
    logs: LogsReply


class TransferReply(TypedDict):
    """A transfer was submitted."""

    transferJob: TransferJobReply


class StagedReply(TransferReply):
    """A transfer was submitted, and waits for the client."""

    transferDirectives: Annotated[
        dict[str, Any], OneOfInstalled(Staging.group, lambda method: method.wire.instructions)
    ]

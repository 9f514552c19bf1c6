"""What FirecREST v2's transfers take and answer, in all spellings."""

from typing import Annotated, Any

from typing_extensions import TypedDict

from passerelle.runtime.config.plugins import OneOfInstalled
from passerelle.runtime.config.site import Staging
from passerelle.storage.firecrest.ops_bodies import CompressBody, ExtractBody, PathBody, TargetBody
from passerelle.storage.staging.wire import Parameters
from passerelle.surfaces.firecrest.bodies import Model, Text


class JobBody(PathBody):
    """What every body has: the file it is about, and the account of the job."""

    account: Text | None = None


class TargetJobBody(TargetBody, JobBody):
    """One file becomes another."""


class CopyJobBody(TargetJobBody):
    """What to copy; `dereference` copies what links lead to."""

    dereference: bool = False


class CompressJobBody(CompressBody, TargetJobBody):
    """What to pack; `matchPattern` is a regular expression of find(1) for the paths of files."""


class ExtractJobBody(ExtractBody, TargetJobBody):
    """What to unpack into the directory `targetPath`."""


class RemoveQuery(Model):
    """The account of the job."""

    account: Text | None = None


class UploadBody(JobBody):
    """A file to come, and how; `path` is the file's own."""

    transfer_directives: Annotated[
        Parameters,
        OneOfInstalled(Staging.group, lambda method: [method.wire.upload], "transfer_method"),
    ]


class DownloadBody(JobBody):
    """A file to leave, and how."""

    transfer_directives: Annotated[
        Parameters,
        OneOfInstalled(Staging.group, lambda method: [method.wire.download], "transfer_method"),
    ]


class LogsReply(TypedDict):
    """Where the job's output goes; absolute paths."""

    outputLog: str
    errorLog: str


class TransferJobReply(TypedDict):
    """The job that does it."""

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

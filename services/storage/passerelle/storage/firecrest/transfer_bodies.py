"""What FirecREST v2's transfers take and answer, in all spellings."""

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from passerelle.runtime.firecrest import Model, Text
from passerelle.storage.firecrest.ops_bodies import CompressBody, ExtractBody, PathBody, TargetBody


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


class S3Request(Model):
    """Through an object store; `fileSize` in bytes is for uploads."""

    transfer_method: Literal["s3"]
    file_size: int | None = Field(default=None, ge=0, lt=2**63)


class StreamerRequest(Model):
    """Straight to or from the job; an upload of known `fileSize` in bytes is refused at once when it is too large."""

    file_size: int | None = Field(default=None, ge=0, lt=2**63)
    transfer_method: Literal["streamer"]


class WormholeRequest(Model):
    """By magic-wormhole."""

    transfer_method: Literal["wormhole"]


class WormholeUploadRequest(WormholeRequest):
    """By magic-wormhole, from the sender that printed the code."""

    wormhole_code: Text


class UploadBody(JobBody):
    """A file to come, and how; `path` is the file's own."""

    transfer_directives: Annotated[
        S3Request | StreamerRequest | WormholeUploadRequest, Field(discriminator="transfer_method")
    ]


class DownloadBody(JobBody):
    """A file to leave, and how."""

    transfer_directives: Annotated[
        S3Request | StreamerRequest | WormholeRequest, Field(discriminator="transfer_method")
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


class DirectivesReply(TypedDict):
    """What the client has to do, by the method; sizes in bytes. There are no nulls: what does not apply is absent."""

    transferMethod: Literal["s3", "streamer", "wormhole"]
    partsUploadUrls: NotRequired[list[str]]
    completeUploadUrl: NotRequired[str]
    maxPartSize: NotRequired[int]
    downloadUrl: NotRequired[str]
    coordinates: NotRequired[str]
    wormholeCode: NotRequired[str]


class StagedReply(TransferReply):
    """A transfer was submitted, and waits for the client."""

    transferDirectives: DirectivesReply

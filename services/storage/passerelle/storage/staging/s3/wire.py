"""The staging method `s3` in both APIs."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from passerelle.storage.staging.wire import Instructions, Parameters, Service, WireForm
from passerelle.v1 import transfers_pb2 as pb

_HIDDEN = "**********"


class S3Request(Parameters):
    """Through an object store; `fileSize` in bytes is for uploads."""

    transfer_method: Literal["s3"]
    file_size: int | None = Field(default=None, ge=0, lt=2**63)


class S3Instructions(Instructions):
    """What the caller gets: presigned URLs."""

    transfer_method: Literal["s3"] = "s3"


class PartUrls(S3Instructions):
    """Presigned URLs for an upload: one to PUT each part of `maxPartSize` bytes, one to POST the list of parts."""

    parts_upload_urls: tuple[str, ...] = Field(repr=False)
    complete_upload_url: str = Field(repr=False)
    max_part_size: int

    def native(self) -> pb.StagedTransfer:
        """See `Instructions.native`."""
        urls = pb.StagedTransfer.S3(
            part_urls=self.parts_upload_urls,
            complete_url=self.complete_upload_url,
            part_size=self.max_part_size,
        )
        return pb.StagedTransfer(s3=urls)


class DownloadUrl(S3Instructions):
    """A presigned URL to GET, once the job has completed."""

    download_url: str = Field(repr=False)

    def native(self) -> pb.StagedTransfer:
        """See `Instructions.native`."""
        return pb.StagedTransfer(s3=pb.StagedTransfer.S3(download_url=self.download_url))


class MultipartReply(BaseModel):
    """How files are cut for an object store; sizes in bytes."""

    use_split: bool
    max_part_size: int
    parallel_runs: int
    tmp_folder: str


class LifecycleReply(BaseModel):
    """How long objects live."""

    days: int


class S3Reply(Service):
    """Staging through an object store; `ttl` of presigned URLs in s."""

    service_type: Literal["s3"] = "s3"
    name: str = "s3"
    private_url: str = _HIDDEN
    public_url: str
    access_key_id: str = _HIDDEN
    secret_access_key: str = _HIDDEN
    region: str
    ttl: int
    tenant: str | None
    multipart: MultipartReply
    bucket_lifecycle_configuration: LifecycleReply

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """See `Service.of`."""
        return cls(
            public_url=options["public_url"] or options["private_url"],
            region=options["region"],
            ttl=options["ttl"],
            tenant=options["tenant"],
            multipart=MultipartReply(
                use_split=False,
                max_part_size=options["part_size"],
                parallel_runs=options["parallel"],
                tmp_folder="",
            ),
            bucket_lifecycle_configuration=LifecycleReply(days=options["lifecycle_days"]),
        )


WIRE = WireForm(
    upload=S3Request,
    download=S3Request,
    instructions=(PartUrls, DownloadUrl),
    service=S3Reply,
)

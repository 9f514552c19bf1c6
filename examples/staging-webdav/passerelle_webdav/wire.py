"""The staging method `webdav` in both APIs."""

from typing import Literal

from pydantic import Field

from passerelle.storage.staging.wire import Instructions, Parameters, Service, WireForm


class UploadRequest(Parameters):
    """A file to come; its SHA-256 in hexadecimal, if it is given, is compared with what arrives."""

    transfer_method: Literal["webdav"]
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")


class DownloadRequest(Parameters):
    """A file to leave."""

    transfer_method: Literal["webdav"]


class UploadUrl(Instructions):
    """Where to PUT the file, in one request. Whoever has the URL can use it."""

    transfer_method: Literal["webdav"] = "webdav"
    upload_url: str = Field(repr=False)


class DownloadUrl(Instructions):
    """Where to GET the file once the job has completed, and to DELETE it then. Whoever has the URL can use it."""

    transfer_method: Literal["webdav"] = "webdav"
    download_url: str = Field(repr=False)


class WebdavReply(Service):
    """Through an HTTP server; `waitTimeout` in s."""

    service_type: Literal["webdav"] = "webdav"
    url: str
    wait_timeout: int


WIRE = WireForm(
    upload=UploadRequest,
    download=DownloadRequest,
    instructions=(UploadUrl, DownloadUrl),
    service=WebdavReply,
)

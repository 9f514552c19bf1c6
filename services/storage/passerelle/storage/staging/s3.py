"""Staging through an S3 object store: for traffic that should not pass the gateway.

A job on the system moves the file between its filesystem and the store; the caller's side moves it between the store
and itself, with presigned URLs. The job gets its own URLs in a private file, and nobody else does.

For copies between two systems that stage with the same store, `send` on one system leaves the file in an object, and
`fetch` on the other takes it from there: the second job may be submitted at once, for it waits for the object.
"""

import asyncio
import logging
import posixpath
import re
import secrets
import ssl
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from minio.credentials.credentials import Credentials
from pydantic import AfterValidator, Field, field_validator

from passerelle.runtime import caller
from passerelle.runtime.config import Secret, Section, System, is_plain_http
from passerelle.runtime.errors import BackendError, BackendUnavailable, InvalidArgument, Overloaded
from passerelle.runtime.errors import Field as WrongField
from passerelle.runtime.findings import Around, Finding, note, unreadable, wrong
from passerelle.runtime.trials import Trial
from passerelle.storage.files import Files
from passerelle.storage.shipping import agent
from passerelle.storage.staging import DownloadUrl, Inbound, Outbound, PartUrls, Staged
from passerelle.storage.staging.s3_store import Life, ObjectStore
from passerelle.storage.staging.s3_urls import (
    LONGEST_LIFE,
    Endpoint,
    Keys,
    ObjectName,
    bucket_name,
    checked_url,
)
from passerelle.storage.transfer_jobs import (
    AgentWork,
    Leftovers,
    SubmittedJob,
    TransferJobs,
    hidden_part,
)

log = logging.getLogger(__name__)

_INGRESS = agent("s3_http", "s3_crew", "s3_ingress")
_EGRESS = agent("s3_http", "s3_crew", "s3_egress")
_MIB = 1 << 20
# Amazon S3's limits ("Multipart upload limits"), which other servers keep to.
_MOST_PARTS = 10_000
_SMALLEST_PART = 5 * _MIB
_LARGEST_PART = 5 << 30
_LARGEST_OBJECT = _MOST_PARTS * _LARGEST_PART
_DAY = 86400
# Seconds that a job may still remove things when its other URLs have expired.
_TIDYING = 3600
# What `_begin` makes, and ids of uploads as stores make them.
_KEY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
_UPLOAD = re.compile(r"[!-~]{1,1024}")

Url = Annotated[str, AfterValidator(checked_url)]


class S3Options(Section):
    """Options of the `s3` staging method."""

    private_url: Url = Field(description="The store as the gateway and the systems reach it.")
    public_url: Url | None = Field(
        default=None, description="The store as callers reach it; `private_url` when unset."
    )
    access_key_id: str = Field(min_length=1, description="The id of the key that signs.")
    secret_access_key: Secret = Field(description="Its secret half.")
    region: str = Field(default="us-east-1", description="The store's region.")
    tenant: str | None = Field(
        default=None,
        description="Put before the bucket in every presigned URL, as `tenant:bucket` (Ceph).",
    )
    bucket: str = Field(
        default="{user}",
        description="The name of a user's bucket; what S3 does not allow in it is replaced.",
    )
    lifecycle_days: int = Field(
        default=10,
        ge=1,
        description="Objects go away after this, days; unfinished uploads do so when their URLs have expired.",
    )
    ttl: int = Field(
        default=86400, ge=1, le=LONGEST_LIFE, description="How long presigned URLs work, s."
    )
    wait_limit: int = Field(
        default=86400, ge=1, description="How long a job waits for the caller's upload, s."
    )
    part_size: int = Field(
        default=128 * _MIB,
        ge=_SMALLEST_PART,
        le=_LARGEST_PART,
        description="Size of a part, bytes; larger for files of more than 10,000 of them.",
    )
    parallel: int = Field(default=4, ge=1, le=64, description="Parts that a job moves at once.")
    retries: int = Field(
        default=6, ge=0, le=100, description="How often a job tries a part again, with pauses."
    )
    md5_etags: bool = Field(
        default=True,
        description="Whether the store's ETags are MD5 sums, which are checked then; "
        "not so where it encrypts with keys of its own.",
    )
    ca_file: Path | None = Field(
        default=None,
        description="Certificates (PEM) to trust instead of the system's, here and in the jobs.",
    )

    @field_validator("bucket")
    @classmethod
    def _of_each_user(cls, bucket: str) -> str:
        if "{user}" not in bucket:
            raise ValueError("must hold `{user}`: each user has a bucket")
        return bucket

    def findings(self, around: Around) -> Iterator[Finding]:
        """See `Section.findings`."""
        for key in ("private_url", "public_url"):
            if (url := getattr(self, key)) and is_plain_http(url):
                yield note(f"{url} is plain http: files can be read on their way", key)
        if self.ca_file is None:
            return
        if told := unreadable(self.ca_file):
            yield wrong(told, "ca_file")
            return
        try:
            ssl.create_default_context(cafile=self.ca_file)
        except ssl.SSLError:
            yield wrong(f"{self.ca_file}: no certificates in PEM", "ca_file")

    def trials(self, around: Around) -> Iterator[Trial]:
        """See `Section.trials`."""
        keys = _keys(self)
        store = _store(self, Endpoint(self.private_url, keys, self.tenant), keys)
        mend = "private_url, access_key_id, secret_access_key, region, ca_file; the clock"
        yield Trial(f"object store {self.private_url}", store.greet, mend)


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object that will come to be: its name, its mark, the upload that makes it, its and its parts' size, bytes."""

    name: ObjectName
    mark: str
    upload: str
    size: int
    part_size: int

    @property
    def parts(self) -> int:
        """How many parts it has: at least one, for an empty file is an empty part."""
        return max(1, -(-self.size // self.part_size))


class S3:
    """The `s3` staging method of one system."""

    Options = S3Options

    def __init__(
        self, system: System, files: Files, jobs: TransferJobs, options: S3Options
    ) -> None:
        self._system = system
        self._files = files
        self._jobs = jobs
        self._options = options
        self._ca = _ca(options)
        keys = _keys(options)
        self._private = Endpoint(options.private_url, keys, options.tenant)
        self._public = Endpoint(options.public_url or options.private_url, keys, options.tenant)
        self._store = _store(options, self._private, keys)

    @property
    def store(self) -> str:
        """Which store it is: methods that have the same can fetch what the other sends."""
        return f"{self._options.private_url} {self._options.tenant or ''}"

    async def upload(self, inbound: Inbound) -> Staged:
        """As Staging.upload; `size` is required."""
        if inbound.size is None:
            raise _wrong_size("is required for transfers with s3")
        target = await self._files.demand_writable(inbound.path)  # before anything is made
        stored = await self._begin(inbound.path, inbound.size)
        try:
            urls = await self._store.in_thread(self._part_urls, self._public, stored)
            complete = self._public.presigned(
                "POST", stored.name, self._options.ttl, uploadId=stored.upload
            )
            job = await self._fetch(stored, inbound.path, target, inbound.account)
        except BaseException:
            await self.discard(stored)
            raise
        return Staged(job, PartUrls(urls, complete, stored.part_size))

    async def download(self, outbound: Outbound) -> Staged:
        """As Staging.download."""
        job, stored = await self.send(outbound)
        url = self._public.presigned("GET", stored.name, self._options.ttl)
        return Staged(job, DownloadUrl(url))

    async def send(self, outbound: Outbound) -> tuple[SubmittedJob, S3Object]:
        """Submit a job that puts the file into an object; raises as Staging.download does."""
        stored = await self._begin(outbound.path, await self._readable_size(outbound.path))
        try:
            parameters = await self._store.in_thread(self._egress, stored, outbound.path)
            work = AgentWork(_EGRESS, parameters, Leftovers(elsewhere=_elsewhere(stored)))
            job = await self._jobs.submit("OutgressFileTransfer", work, outbound.account)
        except BaseException:
            await self.discard(stored)
            raise
        return job, stored

    async def fetch(self, stored: S3Object, path: str, account: str | None) -> SubmittedJob:
        """Submit a job that waits for the object, makes it the file `path`, which is no link, and removes it,
        whatever becomes of it."""
        return await self._fetch(stored, path, path, account)

    async def discard(self, stored: S3Object) -> None:
        """Leave nothing of an object, complete or not; also when the caller is being cancelled."""
        removing = asyncio.create_task(self._store.discard(stored.name, stored.upload))
        with suppress(BackendUnavailable, BackendError, Overloaded):  # its lifecycle does the rest
            await asyncio.shield(removing)

    async def remove(self, elsewhere: Mapping[str, str]) -> None:
        """As `LeavesElsewhere.remove`: an object of our naming, in the caller's own bucket."""
        key, upload = elsewhere.get("key", ""), elsewhere.get("upload", "")
        if not _KEY.fullmatch(key) or not _UPLOAD.fullmatch(upload):
            return
        try:
            await self._store.discard(ObjectName(self._bucket(), key), upload)
        except BackendError as error:  # it would refuse again; its lifecycle does the rest
            log.warning("a transfer's object or upload cannot be removed: %s", error)

    async def _fetch(
        self, stored: S3Object, path: str, target: str, account: str | None
    ) -> SubmittedJob:
        """As `fetch`, for a path that leads to `target`."""
        part = hidden_part(target)
        parameters = self._ingress(stored, path) | {"part": posixpath.basename(part)}
        work = AgentWork(_INGRESS, parameters, Leftovers(part, _elsewhere(stored)))
        return await self._jobs.submit("IngressFileTransfer", work, account)

    def _bucket(self) -> str:
        """The name of the current caller's bucket."""
        return bucket_name(self._options.bucket, caller.current().username)

    async def _begin(self, path: str, size: int) -> S3Object:
        if not 0 <= size <= _LARGEST_OBJECT:
            raise _wrong_size(f"must be between 0 and {_LARGEST_OBJECT} bytes")
        name = ObjectName(self._bucket(), f"{uuid.uuid4()}/{_plain(path)}")
        mark = secrets.token_hex(16)
        upload = await self._store.begin(name, mark)
        return S3Object(name, mark, upload, size, self._part_size(size))

    def _part_size(self, size: int) -> int:
        least = -(-size // _MOST_PARTS)
        return max(self._options.part_size, -(-least // _MIB) * _MIB)

    async def _readable_size(self, path: str) -> int:
        info = await self._files.stat(path, dereference=True)
        await self._files.read(path, 0, 1)  # here it still is an answer to the caller
        return info.size

    def _part_urls(self, endpoint: Endpoint, stored: S3Object) -> tuple[str, ...]:
        return tuple(
            endpoint.presigned(
                "PUT",
                stored.name,
                self._options.ttl,
                partNumber=str(number),
                uploadId=stored.upload,
            )
            for number in range(1, stored.parts + 1)
        )

    def _ingress(self, stored: S3Object, path: str) -> dict[str, Any]:
        """The parameters of agents/s3_ingress.py."""
        options = self._options
        get = self._private.presigned("GET", stored.name, options.ttl)
        own = {"get": get, "size": stored.size, "wait": min(options.wait_limit, options.ttl)}
        return self._both(stored, path) | own

    def _egress(self, stored: S3Object, path: str) -> dict[str, Any]:
        """The parameters of agents/s3_egress.py."""
        complete = self._private.presigned(
            "POST", stored.name, self._options.ttl, uploadId=stored.upload
        )
        own = {"parts": self._part_urls(self._private, stored), "complete": complete}
        return self._both(stored, path) | own

    def _both(self, stored: S3Object, path: str) -> dict[str, Any]:
        name, upload, options = stored.name, stored.upload, self._options
        sign = self._private.presigned
        longer = min(options.ttl + _TIDYING, LONGEST_LIFE)
        return {
            "path": path,
            "roots": self._system.roots,
            "mark": stored.mark,
            "head": sign("HEAD", name, options.ttl),
            "uploaded": sign("GET", name, options.ttl, uploadId=upload),
            "abort": sign("DELETE", name, longer, uploadId=upload),
            "delete": sign("DELETE", name, longer),
            "part_size": stored.part_size,
            "parallel": options.parallel,
            "retries": options.retries,
            "ca": self._ca,
            "md5_etags": options.md5_etags,
        }


def _keys(options: S3Options) -> Keys:
    secret = options.secret_access_key.get_secret_value()
    return Keys(Credentials(options.access_key_id, secret), options.region)


def _ca(options: S3Options) -> str | None:
    return options.ca_file.read_text() if options.ca_file else None


def _store(options: S3Options, endpoint: Endpoint, keys: Keys) -> ObjectStore:
    days = options.lifecycle_days
    life = Life(objects=days, uploads=min(days, -(-options.ttl // _DAY)))
    return ObjectStore(endpoint, keys, life, _ca(options))


def _elsewhere(stored: S3Object) -> dict[str, str]:
    """What `S3.remove` needs to find it again."""
    return {"key": stored.name.key, "upload": stored.upload}


def _plain(path: str) -> str:
    """A file's name as the last part of an object's key: in characters that every S3 server takes."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", posixpath.basename(path))[:200].strip(".") or "file"


def _wrong_size(why: str) -> InvalidArgument:
    return InvalidArgument(f"fileSize {why}", (WrongField("body", "fileSize", why),))

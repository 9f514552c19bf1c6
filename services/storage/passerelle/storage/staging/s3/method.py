"""Staging through an S3 object store: for traffic that should not pass the gateway.

A job on the system moves the file between its filesystem and the store; the client moves it between the store and
itself, with presigned URLs. The job has its own URLs, in a private file.

For copies between two systems that stage with the same store, `send` on one system leaves the file in an object, and
`fetch` on the other takes it from there: the second job may be submitted at once, for it waits for the object.
"""

import asyncio
import logging
import posixpath
import re
import secrets
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from passerelle.runtime import caller
from passerelle.runtime.config.site import System
from passerelle.runtime.errors import BackendError, BackendUnavailable, InvalidArgument, Overloaded
from passerelle.runtime.errors import Field as WrongField
from passerelle.storage.files.port import Files
from passerelle.storage.jobs.port import (
    AgentWork,
    Leftovers,
    SubmittedJob,
    TransferJobs,
    hidden_part,
)
from passerelle.storage.staging.port import Staged, StagingRequest
from passerelle.storage.staging.programs import job_program
from passerelle.storage.staging.s3.options import LARGEST_PART, S3Options
from passerelle.storage.staging.s3.store import Endpoint
from passerelle.storage.staging.s3.urls import LONGEST_LIFE, ObjectName, bucket_name
from passerelle.storage.staging.s3.wire import WIRE, DownloadUrl, PartUrls, S3Request

log = logging.getLogger(__name__)

_REMOTE = "passerelle.storage.staging.s3.remote"
_INGRESS = job_program(f"{_REMOTE}.http", f"{_REMOTE}.workers", f"{_REMOTE}.ingress")
_EGRESS = job_program(f"{_REMOTE}.http", f"{_REMOTE}.workers", f"{_REMOTE}.egress")
_REFUSALS = (BackendUnavailable, BackendError, Overloaded)
_MIB = 1 << 20
# Amazon S3's limits ("Multipart upload limits"), which other servers keep to.
_MOST_PARTS = 10_000
_LARGEST_OBJECT = _MOST_PARTS * LARGEST_PART
# Seconds that a job may still remove things when its other URLs have expired.
_TIDYING = 3600
# Keys made by `_begin`, and ids of uploads made by stores.
_KEY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
_UPLOAD = re.compile(r"[!-~]{1,1024}")


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object that is being uploaded: its name, its mark, its upload's id, its size and its parts' size in bytes."""

    name: ObjectName
    mark: str
    upload: str
    size: int
    part_size: int

    @property
    def parts(self) -> int:
        """The number of its parts: at least one, since an empty file is one empty part."""
        return max(1, -(-self.size // self.part_size))


class S3:
    """The `s3` staging method of one system."""

    Options = S3Options
    wire = WIRE

    def __init__(
        self, system: System, files: Files, jobs: TransferJobs, options: S3Options
    ) -> None:
        self._system = system
        self._files = files
        self._jobs = jobs
        self._options = options
        self._ca = options.ca()
        keys = options.keys()
        self._private = Endpoint(options.private_url, keys, options.tenant)
        self._public = Endpoint(options.public_url or options.private_url, keys, options.tenant)
        self._store = options.store()

    @property
    def store(self) -> str:
        """The store's identity: methods with the same one can fetch each other's objects."""
        return f"{self._options.private_url} {self._options.tenant or ''}"

    async def upload(self, request: StagingRequest[S3Request]) -> Staged:
        """As Staging.upload; the size is required."""
        size = request.parameters.file_size
        if size is None:
            raise _wrong_size("is required for transfers with s3")
        target = await self._files.require_writable(request.path)  # before anything is made
        stored = await self._begin(request.path, size)
        try:
            urls = await self._store.in_thread(self._part_urls, self._public, stored)
            complete = self._public.presigned(
                "POST", stored.name, self._options.ttl, uploadId=stored.upload
            )
            job = await self._fetch(stored, request.path, target, request.account)
        except BaseException:
            await self.discard(stored)
            raise
        instructions = PartUrls(
            parts_upload_urls=urls, complete_upload_url=complete, max_part_size=stored.part_size
        )
        return Staged(job, instructions)

    async def download(self, request: StagingRequest[S3Request]) -> Staged:
        """As Staging.download."""
        job, stored = await self.send(request.path, request.account)
        url = self._public.presigned("GET", stored.name, self._options.ttl)
        return Staged(job, DownloadUrl(download_url=url))

    async def send(self, path: str, account: str | None) -> tuple[SubmittedJob, S3Object]:
        """Submit a job that puts the file into an object; raises as Staging.download does."""
        stored = await self._begin(path, await self._readable_size(path))
        try:
            parameters = await self._store.in_thread(self._egress, stored, path)
            work = AgentWork(_EGRESS, parameters, Leftovers(elsewhere=self._elsewhere(stored)))
            job = await self._jobs.submit("OutgressFileTransfer", work, account)
        except BaseException:
            await self.discard(stored)
            raise
        return job, stored

    async def fetch(self, stored: S3Object, path: str, account: str | None) -> SubmittedJob:
        """Submit a job that waits for the object and writes it to the file `path`, which is not a link. The job
        removes the object, also when it fails."""
        return await self._fetch(stored, path, path, account)

    async def discard(self, stored: S3Object) -> None:
        """Remove an object, complete or not, even while the caller is being cancelled."""
        removing = asyncio.create_task(self._store.discard(stored.name, stored.upload))
        with suppress(*_REFUSALS):  # its lifecycle does the rest
            await asyncio.shield(removing)

    async def remove(self, elsewhere: Mapping[str, str]) -> bool:
        """See `LeavesElsewhere.remove`. Only an object with a key of our form, in the caller's own bucket of this
        store, is removed."""
        if elsewhere.get("store") != self.store:
            return False
        key, upload = elsewhere.get("key", ""), elsewhere.get("upload", "")
        if _KEY.fullmatch(key) and _UPLOAD.fullmatch(upload):
            try:
                await self._store.discard(ObjectName(self._bucket(), key), upload)
            except BackendError as error:  # it would refuse again; its lifecycle does the rest
                log.warning("a transfer's object or upload cannot be removed: %s", error)
        return True

    async def _fetch(
        self, stored: S3Object, path: str, target: str, account: str | None
    ) -> SubmittedJob:
        """As `fetch`, for a path that leads to `target`."""
        part = hidden_part(target)
        parameters = self._ingress(stored, path) | {"part": posixpath.basename(part)}
        work = AgentWork(_INGRESS, parameters, Leftovers(part, self._elsewhere(stored)))
        return await self._jobs.submit("IngressFileTransfer", work, account)

    def _elsewhere(self, stored: S3Object) -> dict[str, str]:
        """The argument with which `remove` finds the object."""
        return {"store": self.store, "key": stored.name.key, "upload": stored.upload}

    def _bucket(self) -> str:
        """The name of the current caller's bucket."""
        return bucket_name(self._options.bucket, caller.current().username)

    async def _begin(self, path: str, size: int) -> S3Object:
        if not 0 <= size <= _LARGEST_OBJECT:
            raise _wrong_size(f"must be between 0 and {_LARGEST_OBJECT} bytes")
        name = ObjectName(self._bucket(), f"{uuid.uuid4()}/{_plain(path)}")
        mark = secrets.token_hex(16)
        beginning = asyncio.create_task(self._store.begin(name, mark))
        try:
            upload = await asyncio.shield(beginning)
        except asyncio.CancelledError:
            await asyncio.shield(asyncio.create_task(self._give_up(name, beginning)))
            raise
        return S3Object(name, mark, upload, size, self._part_size(size))

    async def _give_up(self, name: ObjectName, beginning: "asyncio.Task[str]") -> None:
        """Remove an upload whose caller was cancelled while it began: the request to the store cannot be withdrawn."""
        with suppress(*_REFUSALS):
            await self._store.discard(name, await beginning)

    def _part_size(self, size: int) -> int:
        least = -(-size // _MOST_PARTS)
        return max(self._options.part_size, -(-least // _MIB) * _MIB)

    async def _readable_size(self, path: str) -> int:
        info = await self._files.stat(path, dereference=True)
        await self._files.read(path, 0, 1)  # so that an error reaches the caller
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
        """The parameters of remote/ingress.py."""
        options = self._options
        get = self._private.presigned("GET", stored.name, options.ttl)
        own = {"get": get, "size": stored.size, "wait": min(options.wait_limit, options.ttl)}
        return self._both(stored, path) | own

    def _egress(self, stored: S3Object, path: str) -> dict[str, Any]:
        """The parameters of remote/egress.py."""
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


def _plain(path: str) -> str:
    """A file's name as the last part of an object's key: in characters that every S3 server takes."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", posixpath.basename(path))[:200].strip(".") or "file"


def _wrong_size(why: str) -> InvalidArgument:
    return InvalidArgument(f"fileSize {why}", (WrongField("body", "fileSize", why),))

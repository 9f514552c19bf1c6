"""The object store as the service uses it: makes buckets, begins and aborts uploads, and signs URLs.

The only module that knows the S3 library. Data never passes here. `minio` is synchronous: its calls run in a bounded
number of threads. Buckets are always in the path (path style), as every S3 server takes them. Signing is AWS Signature
Version 4.
"""

import asyncio
import hashlib
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import SplitResult, quote, urlencode, urlsplit
from xml.etree.ElementTree import ParseError

import urllib3
from minio import Minio
from minio.commonconfig import ENABLED, Filter
from minio.credentials.credentials import Credentials
from minio.error import MinioException, S3Error
from minio.lifecycleconfig import (
    AbortIncompleteMultipartUpload,
    Expiration,
    LifecycleConfig,
    Rule,
)
from minio.signer import presign_v4, sign_v4_s3

from passerelle.runtime.config.trials import Failed
from passerelle.runtime.errors import BackendError, BackendUnavailable, Overloaded
from passerelle.storage.staging.s3.urls import DEFAULT_PORTS, ObjectName

T = TypeVar("T")

MARK = "x-amz-meta-passerelle-transfer"
"""The header of an object that says which transfer it belongs to."""

_NOTHING = hashlib.sha256(b"").hexdigest()
_RULE = "passerelle"  # the id of our lifecycle rule
_THREADS = 8
_WAITING = 256
_TIMEOUT = urllib3.Timeout(connect=3, read=15)
_RETRIES = urllib3.Retry(total=2, backoff_factor=0.2)
_UPLOAD_ID = re.compile(rb"<UploadId>([^<]+)</UploadId>")
_CODE = re.compile(rb"<Code>([A-Za-z0-9]+)</Code>")
_OURS_ALREADY = (
    "BucketAlreadyOwnedByYou",
    "OperationAborted",
)  # the latter: it is being made right now
_PASSING = ("InternalError", "ServiceUnavailable", "SlowDown")


@dataclass(frozen=True, slots=True)
class Keys:
    """An access key and its region."""

    access_key_id: str
    secret: str = field(repr=False)
    region: str


class Endpoint:
    """An address of the store; `tenant` is put before the bucket in every presigned URL."""

    def __init__(self, url: str, keys: Keys, tenant: str | None = None) -> None:
        parts = urlsplit(url)
        self.secure = parts.scheme == "https"
        self.host = parts.netloc.removesuffix(
            DEFAULT_PORTS[parts.scheme]
        )  # clients send no default port
        self._scheme = parts.scheme
        self._credentials = Credentials(keys.access_key_id, keys.secret)
        self._region = keys.region
        self._tenant = f"{tenant}:" if tenant else ""

    def presigned(self, method: str, name: ObjectName, life: int, **query: str) -> str:
        """A URL with which anybody can send one kind of request for one object, for `life` seconds."""
        url = presign_v4(
            method=method,
            url=self._url(self._tenant + name.bucket, name.key, query),
            region=self._region,
            credentials=self._credentials,
            date=datetime.now(UTC),
            expires=life,
        )
        return url.geturl()

    def signed(
        self, method: str, name: ObjectName, query: Mapping[str, str], more: Mapping[str, str]
    ) -> tuple[str, dict[str, str]]:
        """A URL without a secret, and the headers (`more` among them) that sign a request for it without a body."""
        now = datetime.now(UTC)
        url = self._url(name.bucket, name.key, query)
        headers: dict[str, str | list[str] | tuple[str]] = {
            "Host": self.host,
            "x-amz-content-sha256": _NOTHING,
            "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
            **more,
        }
        signed = sign_v4_s3(
            method=method,
            url=url,
            region=self._region,
            headers=headers,
            credentials=self._credentials,
            content_sha256=_NOTHING,
            date=now,
        )
        return url.geturl(), {key: str(value) for key, value in signed.items()}

    def _url(self, bucket: str, key: str, query: Mapping[str, str]) -> SplitResult:
        path = f"/{quote(bucket, safe='')}/{quote(key, safe='/~')}"
        sorted_query = urlencode(sorted(query.items()), quote_via=quote, safe="~")
        return SplitResult(self._scheme, self.host, path, sorted_query, "")


@dataclass(frozen=True, slots=True)
class Life:
    """The days after which a bucket's objects, and its unfinished uploads, are removed."""

    objects: int
    uploads: int


class ObjectStore:
    """One object store; everything in its buckets is removed after `life`."""

    def __init__(self, endpoint: Endpoint, keys: Keys, life: Life, ca: str | None) -> None:
        context = ssl.create_default_context(cadata=ca)
        self._http = urllib3.PoolManager(
            timeout=_TIMEOUT, retries=_RETRIES, maxsize=_THREADS, ssl_context=context
        )
        self._minio = Minio(
            endpoint.host,
            keys.access_key_id,
            keys.secret,
            secure=endpoint.secure,
            region=keys.region,
            http_client=self._http,
        )
        self._endpoint = endpoint
        self._life = life
        self._ready: set[str] = set()
        self._threads = ThreadPoolExecutor(_THREADS, "s3")
        self._room = _THREADS + _WAITING

    async def begin(self, name: ObjectName, mark: str) -> str:
        """Begin the multipart upload of an object, in a bucket that is made when missing; returns the upload's id.

        The object will have `mark` in its metadata, by which it is recognised.

        Raises BackendUnavailable when the store cannot be reached, BackendError when it refuses.
        """
        return await self.in_thread(self._begin, name, mark)

    async def greet(self) -> str:
        """Send a signed request that changes nothing; a description of the answer. Raises Failed with the reason."""
        return await self.in_thread(self._greet)

    def _greet(self) -> str:
        try:
            buckets = self._minio.list_buckets()
        except S3Error as error:
            if error.code == "AccessDenied":
                return "takes the key, which may not list buckets"
            raise Failed(f"it answers {error.code}: {error.message}") from None
        except (MinioException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise Failed(
                f"it cannot be reached: {getattr(error, 'reason', None) or error}"
            ) from None
        return f"takes the key, and shows {len(buckets)} buckets"

    async def discard(self, name: ObjectName, upload: str) -> None:
        """Remove an upload and its object, if they exist. Raises as `begin`, and Overloaded."""
        await self.in_thread(self._discard, name, upload)

    def _discard(self, name: ObjectName, upload: str) -> None:
        for query in ({"uploadId": upload}, {}):
            with suppress(_Gone):
                self._ask("DELETE", name, query)

    async def in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        """The result of `work`, which runs in one of the store's threads. Raises Overloaded when too many wait."""
        if not self._room:
            raise Overloaded("Too many transfers wait for the object store.")
        self._room -= 1
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._threads, partial(work, *arguments))
        future.add_done_callback(self._left)
        return await future

    def _left(self, future: "asyncio.Future[T]") -> None:
        self._room += 1

    def _begin(self, name: ObjectName, mark: str) -> str:
        begin = partial(self._ask, "POST", name, {"uploads": ""}, {MARK: mark})
        with _errors_without_urls():
            self._make(name.bucket)
            try:
                answer = begin()
            except _NoBucket:  # it vanished since we made it
                self._ready.discard(name.bucket)
                self._make(name.bucket)
                answer = begin()
        match = _UPLOAD_ID.search(answer)
        if match is None:
            raise BackendError("The object store began no upload.")
        return match.group(1).decode()

    def _make(self, bucket: str) -> None:
        """Make the bucket if it is missing, and give it our lifecycle if it has none."""
        if bucket in self._ready:
            return
        try:
            self._minio.make_bucket(bucket)
        except S3Error as error:
            if error.code not in _OURS_ALREADY:
                raise
        if self._is_ours(self._minio.get_bucket_lifecycle(bucket)):
            self._minio.set_bucket_lifecycle(bucket, self._lifecycle())
        self._ready.add(bucket)

    def _is_ours(self, lifecycle: LifecycleConfig | None) -> bool:
        """Whether the bucket has no lifecycle, or the one that we set."""
        return lifecycle is None or [rule.rule_id for rule in lifecycle.rules] == [_RULE]

    def _lifecycle(self) -> LifecycleConfig:
        rule = Rule(
            ENABLED,
            rule_filter=Filter(prefix=""),
            rule_id=_RULE,
            expiration=Expiration(days=self._life.objects),
            abort_incomplete_multipart_upload=AbortIncompleteMultipartUpload(self._life.uploads),
        )
        return LifecycleConfig([rule])

    def _ask(
        self,
        method: str,
        name: ObjectName,
        query: Mapping[str, str],
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> bytes:
        """The body of the answer to a request that `minio` has no public method for."""
        with _errors_without_urls():
            url, headers = self._endpoint.signed(method, name, query, more)
            answer = self._http.request(method, url, headers=headers)
        if answer.status >= 300:
            match = _CODE.search(answer.data)
            raise _refusal(match.group(1).decode() if match else str(answer.status), answer.status)
        return answer.data


class _Gone(BackendError):
    """The upload or object does not exist."""


class _NoBucket(_Gone):
    """The bucket does not exist."""


@contextmanager
def _errors_without_urls() -> Iterator[None]:
    """Raise exceptions of the block as our own errors, whose text has no URL."""
    try:
        yield
    except S3Error as error:
        raise _refusal(error.code or "an error", error.response.status) from None
    except (MinioException, urllib3.exceptions.HTTPError, OSError):
        raise BackendUnavailable("The object store cannot be reached.") from None
    except (ParseError, ValueError):  # from minio's parsing
        raise BackendUnavailable("The object store's answer is not one of S3.") from None


_MISSING = {"NoSuchBucket": _NoBucket, "NoSuchUpload": _Gone, "NoSuchKey": _Gone}


def _refusal(code: str, status: int) -> BackendError | BackendUnavailable:
    if code in _PASSING or status in (500, 502, 503, 504):
        return BackendUnavailable(f"The object store is not available now: {code}.")
    kind = _MISSING.get(code, BackendError)
    return kind(f"The object store refused the transfer: {code}.")

"""Requests of transfer jobs to an object store, through presigned URLs. Messages never contain these URLs.

Runs on the system, on Python 3.6 and newer.
"""

import hashlib
import http.client
import re
import socket
import ssl
import threading
import urllib.error
import urllib.request

from passerelle.storage.staging.remote.job import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, TypeVar

    T = TypeVar("T")

BLOCK = 1 << 20  # bytes that are read or written at once
_TIMEOUT = 60  # seconds without a byte
_LONGEST_PAUSE = 15  # seconds
_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9]+)\s*</Code>")
# S3's error codes after which a request is repeated, besides every status 5xx. See "Error responses" in the Amazon S3
# API reference.
_RETRIABLE = frozenset(
    (
        "BadDigest",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
    )
)
_EXPIRED = re.compile(rb"<Message>[^<]*expired", re.IGNORECASE)
_MEANINGS = {
    "NoSuchBucket": "the bucket of this transfer is gone",
    "NoSuchUpload": "the multipart upload of this transfer is gone",
    "NoSuchKey": "the object of this transfer is gone",
    "PreconditionFailed": "the object was replaced while it was read",
}


class StoreError(Exception):
    """A request failed. The text is for the job's log; `code` is S3's, `retriable` whether to repeat the request."""

    def __init__(self, words: str, code: str = "", retriable: bool = False) -> None:
        super().__init__(words)
        self.code = code
        self.retriable = retriable


class Answer:
    """A response of the store: its headers, and a body of at most 1 MiB."""

    def __init__(self, headers: "Any", body: bytes) -> None:
        self.headers = headers
        self.body = body

    @property
    def mark(self) -> str:
        """Which transfer the object belongs to."""
        return str(self.headers.get("x-amz-meta-passerelle-transfer"))

    @property
    def tag(self) -> str:
        """The ETag without its quotes."""
        return str(self.headers.get("ETag") or "").strip('"')


class Store:
    """The object store, until `stopping` is set; `ca` are PEM certificates to trust instead of the system's."""

    def __init__(self, ca: "str | None", retries: int) -> None:
        context = ssl.create_default_context(cadata=ca)
        # A proxy from the user's environment is not used, since it would see the URLs.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        self._retries = retries
        self.stopping = threading.Event()
        self.last_error = ""
        """Why the latest request failed; empty when it did not."""

    def request(self, method: str, url: str, *rest: "Any", timeout: float = _TIMEOUT) -> Answer:
        """Send a request as `open` does, and read the complete response. Raises StoreError."""
        with self.open(method, url, *rest, timeout=timeout) as response:
            try:
                return Answer(response.headers, response.read(BLOCK))
            except (OSError, http.client.HTTPException) as error:
                raise _broken(error) from None

    def open(
        self,
        method: str,
        url: str,
        body: "bytes | Iterable[bytes] | None" = None,
        headers: "dict[str, str] | None" = None,
        *,
        timeout: float = _TIMEOUT,
    ) -> "Any":
        """Send a request. The response is a context manager with `read` and `headers`.

        A `body` of blocks needs a Content-Length among the `headers`. Raises StoreError.
        """
        all_headers = {"Content-Type": "application/octet-stream"}
        all_headers.update(headers or {})
        request = urllib.request.Request(url, body, all_headers, method=method)  # noqa: S310  # ours
        try:
            response = self._opener.open(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            refusal = _refused(error)
            if not refusal.retriable:
                self.last_error = ""
            raise refusal from None
        except (OSError, http.client.HTTPException) as error:
            raise _broken(error) from None
        self.last_error = ""
        return response

    def read(self, response: "Any", limit: int) -> bytes:
        """The next bytes of a response's body, at most `limit`. Raises StoreError when there are none."""
        if self.stopping.is_set():
            raise StoreError("it was stopped")
        try:
            block = response.read(limit)
        except (OSError, http.client.HTTPException) as error:
            raise _broken(error) from None
        if not block:
            raise StoreError("the object store's answer ended early", retriable=True)
        return bytes(block)

    def attempts(self, work: "Callable[..., T]", *arguments: "Any") -> "T":
        """The result of `work`, which is repeated after growing pauses while its StoreError is retriable."""
        for pause in self.pauses(self._retries):
            try:
                return work(*arguments)
            except StoreError as error:
                if not error.retriable:
                    raise
                self.log_retry(error)
                self.pause(pause)
        return work(*arguments)

    def log_retry(self, error: StoreError) -> None:
        """Log an error after which a request is repeated, unless the latest one was the same."""
        if self.last_error != str(error):
            self.last_error = str(error)
            log("%s; trying again ..." % self.last_error)  # noqa: UP031

    def pauses(self, count: int) -> "Iterator[float]":
        """`count` growing pauses in seconds, of at most 15 s."""
        pause = 0.5
        for _ in range(count):
            yield pause
            pause = min(pause * 2, _LONGEST_PAUSE)

    def pause(self, seconds: float) -> None:
        """Wait; raises StoreError when the work is stopped meanwhile."""
        if self.stopping.wait(seconds):
            raise StoreError("it was stopped")

    def remove(self, url: str) -> bool:
        """DELETE something, in one attempt with a short deadline; whether it no longer exists."""
        try:
            self.request("DELETE", url, timeout=10)
        except StoreError as error:
            return error.code in ("NoSuchUpload", "NoSuchKey", "NoSuchBucket")
        return True


def store_error(body: bytes, status: int) -> StoreError:
    """The error that a response with this HTTP status and XML `body` means."""
    match = _CODE.search(body)
    code = match.group(1).decode() if match else ""
    if _EXPIRED.search(body):
        return StoreError("the time that this transfer was given has run out", "Expired")
    words = _MEANINGS.get(code) or "the object store answered %s" % (code or status)
    return StoreError(words, code or str(status), code in _RETRIABLE or status >= 500)


def md5() -> "Any":
    """A new MD5. S3 uses it as a checksum, which systems in FIPS mode have to be told."""
    try:
        return hashlib.md5(usedforsecurity=False)
    except TypeError:  # before Python 3.9
        return hashlib.md5()  # noqa: S324


def composite(digests: "Iterable[bytes]", count: int) -> str:
    """The ETag of an object of `count` parts: the MD5 of their MD5s, and the count."""
    combined = md5()
    for digest in digests:
        combined.update(digest)
    return "%s-%d" % (combined.hexdigest(), count)  # noqa: UP031


def _refused(error: urllib.error.HTTPError) -> StoreError:
    with error:
        try:
            return store_error(error.read(BLOCK), error.code)
        except (OSError, http.client.HTTPException):
            return store_error(b"", error.code)


def _broken(error: "OSError | http.client.HTTPException") -> StoreError:
    """A connection failed. The text is the system's, since that of the exception may contain the URL."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLError) and "CERTIFICATE" in (reason.reason or ""):
        return StoreError("the object store's certificate is not trusted on this system")
    if isinstance(reason, socket.timeout):
        reason_text = "it did not answer in time"
    else:
        reason_text = getattr(reason, "strerror", None) or type(reason).__name__
    return StoreError("the connection to the object store failed: %s" % reason_text, retriable=True)  # noqa: UP031

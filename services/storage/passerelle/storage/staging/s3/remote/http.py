"""How transfer jobs speak with an object store: through presigned URLs, which no message ever names.

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

from passerelle.storage.staging.remote.job import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, TypeVar

    T = TypeVar("T")

BLOCK = 1 << 20  # bytes that are read or written at once
_TIMEOUT = 60  # seconds without a byte
_LONGEST_PAUSE = 15  # seconds
_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9]+)\s*</Code>")
# S3's error codes that are worth another try; so is every 5xx. See "Error responses" in the Amazon S3 API reference.
_PASSING = frozenset(
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


class Trouble(Exception):
    """Why a transfer failed, in words for its log. `code` is S3's, `again` whether another try may succeed."""

    def __init__(self, words: str, code: str = "", again: bool = False) -> None:
        super().__init__(words)
        self.code = code
        self.again = again


class Answer:
    """What the store answered: its headers, and a body of at most 1 MiB."""

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
        # The store is reached as the site says: a proxy of the user's environment would see the URLs.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        self._retries = retries
        self.stopping = threading.Event()
        self.fault = ""
        """Why the store has not answered lately."""

    def ask(self, method: str, url: str, *rest: "Any", timeout: float = _TIMEOUT) -> Answer:
        """One request, as `opened` takes it, with its whole answer; raises Trouble."""
        with self.opened(method, url, *rest, timeout=timeout) as response:
            try:
                return Answer(response.headers, response.read(BLOCK))
            except (OSError, http.client.HTTPException) as error:
                raise _broken(error) from None

    def opened(
        self,
        method: str,
        url: str,
        body: "bytes | Iterable[bytes] | None" = None,
        headers: "dict[str, str] | None" = None,
        *,
        timeout: float = _TIMEOUT,
    ) -> "Any":
        """One request with its body yet to be read: the response is a context manager with `read` and `headers`.

        A `body` of blocks needs a Content-Length among the `headers`. Raises Trouble.
        """
        every = {"Content-Type": "application/octet-stream"}
        every.update(headers or {})
        request = urllib.request.Request(url, body, every, method=method)  # noqa: S310  # ours
        try:
            response = self._opener.open(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            trouble = _refused(error)
            if not trouble.again:
                self.fault = ""
            raise trouble from None
        except (OSError, http.client.HTTPException) as error:
            raise _broken(error) from None
        self.fault = ""
        return response

    def read(self, response: "Any", most: int) -> bytes:
        """The next bytes of a response's body, at most `most`; raises Trouble when there are none."""
        if self.stopping.is_set():
            raise Trouble("it was stopped")
        try:
            block = response.read(most)
        except (OSError, http.client.HTTPException) as error:
            raise _broken(error) from None
        if not block:
            raise Trouble("the object store's answer ended early", again=True)
        return bytes(block)

    def attempts(self, work: "Callable[..., T]", *arguments: "Any") -> "T":
        """What `work` returns, tried again with growing pauses while its Trouble may pass."""
        for pause in self.pauses(self._retries):
            try:
                return work(*arguments)
            except Trouble as trouble:
                if not trouble.again:
                    raise
                self.tell(trouble)
                self.pause(pause)
        return work(*arguments)

    def tell(self, trouble: Trouble) -> None:
        """Say in the log, once, what fails and is tried again."""
        if self.fault != str(trouble):
            self.fault = str(trouble)
            say("%s; trying again ..." % self.fault)  # noqa: UP031

    def pauses(self, count: int) -> "Iterator[float]":
        """Seconds to wait, `count` times: growing, and bounded."""
        pause = 0.5
        for _ in range(count):
            yield pause
            pause = min(pause * 2, _LONGEST_PAUSE)

    def pause(self, seconds: float) -> None:
        """Wait; raises Trouble when the work is stopped meanwhile."""
        if self.stopping.wait(seconds):
            raise Trouble("it was stopped")

    def remove(self, url: str) -> bool:
        """DELETE what may be gone already, in one short try; tells whether it is gone now."""
        try:
            self.ask("DELETE", url, timeout=10)
        except Trouble as trouble:
            return trouble.code in ("NoSuchUpload", "NoSuchKey", "NoSuchBucket")
        return True


def said(body: bytes, status: int) -> Trouble:
    """What an error of that HTTP status means, by the code in its XML `body`."""
    match = _CODE.search(body)
    code = match.group(1).decode() if match else ""
    if _EXPIRED.search(body):
        return Trouble("the time that this transfer was given has run out", "Expired")
    words = _MEANINGS.get(code) or "the object store answered %s" % (code or status)
    return Trouble(words, code or str(status), code in _PASSING or status >= 500)


def md5() -> "Any":
    """A new MD5, which S3 uses as a checksum; systems in FIPS mode want to hear that it is no more than that."""
    try:
        return hashlib.md5(usedforsecurity=False)
    except TypeError:  # before Python 3.9
        return hashlib.md5()  # noqa: S324


def composite(digests: "Iterable[bytes]", count: int) -> str:
    """The ETag of an object made of `count` parts: the MD5 of their MD5s, and how many."""
    whole = md5()
    for digest in digests:
        whole.update(digest)
    return "%s-%d" % (whole.hexdigest(), count)  # noqa: UP031


def _refused(error: urllib.error.HTTPError) -> Trouble:
    with error:
        try:
            return said(error.read(BLOCK), error.code)
        except (OSError, http.client.HTTPException):
            return said(b"", error.code)


def _broken(error: "OSError | http.client.HTTPException") -> Trouble:
    """A connection that failed: in the words of the system, for an exception's own may name the URL."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLError) and "CERTIFICATE" in (reason.reason or ""):
        return Trouble("the object store's certificate is not trusted on this system")
    if isinstance(reason, socket.timeout):
        why = "it did not answer in time"
    else:
        why = getattr(reason, "strerror", None) or type(reason).__name__
    return Trouble("the connection to the object store failed: %s" % why, again=True)  # noqa: UP031

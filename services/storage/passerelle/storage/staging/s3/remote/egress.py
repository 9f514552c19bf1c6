"""Sends a file of the system to an object store, in parts.

Runs on the system, on Python 3.6 and newer. Its parameters: `path`, and the `roots` that it must not lead out of; the
`mark` in its metadata; `parts`, `complete`, `abort`, `uploaded`, `head` and `delete`, presigned URLs (to PUT each
part, POST their list, DELETE the upload, GET its parts, HEAD and DELETE the object); `part_size` in bytes; `parallel`
parts; `retries` of each; `ca`, certificates in PEM or null; `md5_etags`, whether ETags are MD5 sums.
"""

import base64
import os
import stat

from passerelle.storage.staging.remote.job import boundary, encoded, ignore_signals, log
from passerelle.storage.staging.s3.remote.http import (
    BLOCK,
    Answer,
    StoreError,
    composite,
    md5,
    store_error,
)
from passerelle.storage.staging.s3.remote.workers import Transfer, run_job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Part = tuple[str, bytes]
    """A part that has arrived: its ETag, and its MD5."""

_COMPLETING = 600  # seconds: the store may join the parts only then


class Egress(Transfer):
    """Sends one file to the store."""

    def run(self) -> bool:
        """Send the file; True, since nothing has to be removed then. Raises StoreError, Failure or OSError."""
        self._file = os.open(encoded(self._parameters["path"]), os.O_RDONLY | os.O_NONBLOCK)
        boundary(self._parameters).require_open(self._file, encoded(self._parameters["path"]))
        before = os.fstat(self._file)
        if not stat.S_ISREG(before.st_mode):
            raise StoreError("%s is not a regular file" % self._parameters["path"])  # noqa: UP031
        self._size = before.st_size
        count = max(1, -(-self._size // self._part_size))
        if count > len(self._parameters["parts"]):
            raise StoreError("the file has grown since the transfer was asked for; ask again")
        log("Sending %d bytes in %d parts ..." % (self._size, count))  # noqa: UP031
        parts = self._in_parallel(count, self._send)
        after = os.fstat(self._file)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise StoreError("the file changed while it was being sent")
        ignore_signals()  # a complete upload is not cancelled
        self._complete(parts)
        log("Multipart file upload successfully completed")
        return True

    def _send(self, number: int) -> "Part":
        return self._store.attempts(
            self._put, self._parameters["parts"][number], *self._range(number)
        )

    def _put(self, url: str, offset: int, length: int) -> "Part":
        digest = md5()
        for block in self._blocks(offset, length):
            digest.update(block)
        headers = {
            "Content-Length": str(length),
            "Content-MD5": base64.b64encode(digest.digest()).decode(),
        }
        body = self._blocks(offset, length) if length else b""
        try:
            tag = self._store.request("PUT", url, body, headers).tag
        except StoreError as error:
            # The store may have closed the connection without sending its error, which this request gets.
            if error.retriable:
                self._store.request("GET", self._parameters["uploaded"])
            raise
        if self._parameters["md5_etags"] and tag != digest.hexdigest():
            raise StoreError("a part arrived damaged in the object store", retriable=True)
        return tag, digest.digest()

    def _blocks(self, offset: int, length: int) -> "Iterator[bytes]":
        end = offset + length
        while offset < end:
            if self._store.stopping.is_set():
                raise StoreError("it was stopped")
            try:
                block = os.pread(self._file, min(BLOCK, end - offset), offset)
            except OSError as error:  # distinguishes it from errors of the connection
                raise StoreError("reading the file failed: %s" % error.strerror) from None  # noqa: UP031
            if not block:
                raise StoreError("the file became shorter while it was being sent")
            yield block
            offset += len(block)

    def _complete(self, parts: "list[Part]") -> None:
        entries = "".join(
            '<Part><PartNumber>%d</PartNumber><ETag>"%s"</ETag></Part>' % (number, tag)  # noqa: UP031
            for number, (tag, _) in enumerate(parts, 1)
        )
        body = "<CompleteMultipartUpload>%s</CompleteMultipartUpload>" % entries  # noqa: UP031
        tag = composite((digest for _, digest in parts), len(parts))
        try:
            self._store.attempts(self._post, body.encode())
        except StoreError as error:
            # An earlier attempt may have succeeded although its response was lost.
            if error.code != "NoSuchUpload" or not self._store.attempts(self._is_complete, tag):
                raise
        if not self._store.attempts(self._is_complete, tag):
            raise StoreError("the object in the store is not the file that was sent")

    def _post(self, body: bytes) -> None:
        headers = {"Content-Type": "application/xml"}
        response = self._store.request(
            "POST", self._parameters["complete"], body, headers, timeout=_COMPLETING
        )
        if b"<Error" in response.body:  # S3 sends the status 200 before it has joined the parts
            raise store_error(response.body, 200)

    def _is_complete(self, tag: str) -> bool:
        """Whether the object exists, has the file's size, and was made of these parts."""
        try:
            response = self._store.request("HEAD", self._parameters["head"])
        except StoreError as error:
            if error.code == "404":
                return False
            raise
        same = response.tag == tag or not self._parameters["md5_etags"]
        return same and self._has_size(response) and response.mark == self._parameters["mark"]

    def _has_size(self, response: Answer) -> bool:
        return bool(response.headers.get("Content-Length") == str(self._size))


def main() -> None:
    """Send the file that the parameters name."""
    run_job(Egress)


if __name__ == "__main__":
    main()

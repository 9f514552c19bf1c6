"""Sends a file of the system to an object store, in parts.

Runs on the system, on Python 3.6 and newer. Its parameters: `path`, and the `roots` that it must not lead out of; the
`mark` in its metadata; `parts`, `complete`, `abort`, `uploaded`, `head` and `delete`, presigned URLs (to PUT each
part, POST their list, DELETE the upload, GET its parts, HEAD and DELETE the object); `part_size` in bytes; `parallel`
parts; `retries` of each; `ca`, certificates in PEM or null; `md5_etags`, whether ETags are MD5 sums.
"""

import base64
import os
import stat

from passerelle.storage.staging.remote.job import boundary, encoded, say, stop_listening
from passerelle.storage.staging.s3.remote.http import (
    BLOCK,
    Answer,
    Store,
    Trouble,
    composite,
    md5,
    said,
)
from passerelle.storage.staging.s3.remote.workers import in_parallel, run_job, undone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Part = tuple[str, bytes]
    """A part that has arrived: its ETag, and its MD5."""

_COMPLETING = 600  # seconds: the store may put the parts together only now


class Egress:
    """One file on its way out."""

    def __init__(self, given: "dict[str, Any]", store: Store) -> None:
        self._given = given
        self._store = store
        self._part_size = int(given["part_size"])
        self._file = -1
        self._size = 0

    def run(self) -> bool:
        """Send it, which leaves nothing else; raises Trouble or OSError."""
        self._file = os.open(encoded(self._given["path"]), os.O_RDONLY | os.O_NONBLOCK)
        boundary(self._given).require_open(self._file, encoded(self._given["path"]))
        before = os.fstat(self._file)
        if not stat.S_ISREG(before.st_mode):
            raise Trouble("%s is not a regular file" % self._given["path"])  # noqa: UP031
        self._size = before.st_size
        count = max(1, -(-self._size // self._part_size))
        if count > len(self._given["parts"]):
            raise Trouble("the file has grown since the transfer was asked for; ask again")
        say("Sending %d bytes in %d parts ..." % (self._size, count))  # noqa: UP031
        parts = in_parallel(self._store, self._given["parallel"], count, self._send)
        after = os.fstat(self._file)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise Trouble("the file changed while it was being sent")
        stop_listening()  # what is complete is not given up
        self._complete(parts)
        say("Multipart file upload successfully completed")
        return True

    def undo(self) -> bool:
        """Leave nothing in the store; whether that is so."""
        return undone(self._store, self._given)

    def _send(self, number: int) -> "Part":
        offset = number * self._part_size
        length = min(self._part_size, self._size - offset)
        return self._store.attempts(self._put, self._given["parts"][number], offset, length)

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
            tag = self._store.ask("PUT", url, body, headers).tag
        except Trouble as trouble:
            if trouble.again:  # a store that refuses may close the connection before it says why
                self._store.ask("GET", self._given["uploaded"])
            raise
        if self._given["md5_etags"] and tag != digest.hexdigest():
            raise Trouble("a part arrived damaged in the object store", again=True)
        return tag, digest.digest()

    def _blocks(self, offset: int, length: int) -> "Iterator[bytes]":
        end = offset + length
        while offset < end:
            if self._store.stopping.is_set():
                raise Trouble("it was stopped")
            try:
                block = os.pread(self._file, min(BLOCK, end - offset), offset)
            except OSError as error:  # not to be taken for one of the connection
                raise Trouble("reading the file failed: %s" % error.strerror) from None  # noqa: UP031
            if not block:
                raise Trouble("the file became shorter while it was being sent")
            yield block
            offset += len(block)

    def _complete(self, parts: "list[Part]") -> None:
        listed = "".join(
            '<Part><PartNumber>%d</PartNumber><ETag>"%s"</ETag></Part>' % (number, tag)  # noqa: UP031
            for number, (tag, _) in enumerate(parts, 1)
        )
        body = "<CompleteMultipartUpload>%s</CompleteMultipartUpload>" % listed  # noqa: UP031
        tag = composite((digest for _, digest in parts), len(parts))
        try:
            self._store.attempts(self._post, body.encode())
        except Trouble as trouble:
            # An earlier try may have succeeded without our hearing of it.
            if trouble.code != "NoSuchUpload" or not self._store.attempts(self._arrived, tag):
                raise
        if not self._store.attempts(self._arrived, tag):
            raise Trouble("the object in the store is not the file that was sent")

    def _post(self, body: bytes) -> None:
        headers = {"Content-Type": "application/xml"}
        answer = self._store.ask(
            "POST", self._given["complete"], body, headers, timeout=_COMPLETING
        )
        if b"<Error" in answer.body:  # S3 says 200 before it knows
            raise said(answer.body, 200)

    def _arrived(self, tag: str) -> bool:
        """Whether the object is there, has the file's size, and was made of these parts."""
        try:
            found = self._store.ask("HEAD", self._given["head"])
        except Trouble as trouble:
            if trouble.code == "404":
                return False
            raise
        same = found.tag == tag or not self._given["md5_etags"]
        return same and self._has_size(found) and found.mark == self._given["mark"]

    def _has_size(self, found: Answer) -> bool:
        return bool(found.headers.get("Content-Length") == str(self._size))


def main() -> None:
    """Send the file that the parameters name."""
    run_job(Egress)


if __name__ == "__main__":
    main()

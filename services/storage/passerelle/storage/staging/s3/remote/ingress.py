"""Fetches an object into a file of the system, when it has arrived in the object store.

Runs on the system, on Python 3.6 and newer. Its parameters: `path`, and the `roots` that it must not lead out of;
`part`, the name beside it under which content arrives; the `mark` in the object's metadata; `size` in bytes; `get`,
`head`, `delete`, `abort`, `uploaded` (presigned URLs: of the object, and to DELETE its upload or GET that one's parts);
`part_size` in bytes of every part but the last; `parallel` parts; `retries` of each; `wait` in seconds; `ca`,
certificates in PEM or null; `md5_etags`, whether ETags are MD5 sums.
"""

import os
import time
from contextlib import suppress

from passerelle.storage.remote.changing.targets import Target
from passerelle.storage.staging.remote.job import boundary, encoded, ignore_signals, log
from passerelle.storage.staging.s3.remote.http import (
    BLOCK,
    Answer,
    Store,
    StoreError,
    composite,
    md5,
)
from passerelle.storage.staging.s3.remote.workers import Transfer, run_job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


_SHORT = 20  # seconds for a response without content
_MAX_OUTAGE = 1800  # seconds that the store may be unreachable while the job waits


class Ingress(Transfer):
    """Fetches one object into a file."""

    def __init__(self, parameters: "dict[str, Any]", store: Store) -> None:
        super().__init__(parameters, store)
        self._size = int(parameters["size"])
        self._temporary = parameters["part"].encode()
        self._target: Target | None = None
        self._tag = ""

    def run(self) -> bool:
        """Wait for the object and fetch it; whether the store's copy was removed.

        Raises StoreError, Failure or OSError.
        """
        self._writable().close()  # a target that cannot be written fails the job before it waits
        log("Waiting till the file to transfer is available ...")
        response = self._wait_for_object()
        self._check(response)
        self._tag = response.tag
        target = self._target = self._writable()
        old = target.require_writable()
        # A file that replaces another one must not be readable by others before it has that one's mode.
        permissions = 0o666 if old is None else 0o600
        self._discard()  # left by a run whose node failed
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        self._file = os.open(self._temporary, flags, permissions, dir_fd=target.directory)
        log("Downloading %d bytes ..." % self._size)  # noqa: UP031
        count = -(-self._size // self._part_size)
        digests = self._in_parallel(count, self._fetch)
        self._verify(digests)
        os.fsync(self._file)
        old = target.require_writable()  # the target may have been changed meanwhile
        if old is not None:
            os.fchmod(self._file, old.st_mode & 0o777)
        ignore_signals()  # a complete file is not removed
        target.replace_by(self._temporary)
        removed = self._remove_object()
        log("File was successfully downloaded (size: %.3fMB)" % (self._size / (1 << 20)))
        return removed

    def undo(self) -> bool:
        """Remove everything from the system and the store; whether that succeeded."""
        discarded = True
        try:
            self._discard()
        except OSError:
            log("The incomplete file could not be removed.")
            discarded = False
        return super().undo() and discarded

    def _discard(self) -> None:
        """Remove the incomplete file."""
        if self._target is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._temporary, dir_fd=self._target.directory)

    def _wait_for_object(self) -> Answer:
        deadline = time.monotonic() + self._parameters["wait"]
        pause, failing_since = 0.5, 0.0
        while True:
            try:
                response = self._head() or self._check_upload()
                if response:
                    return response
            except StoreError as error:
                if not error.retriable:
                    raise
                self._store.log_retry(error)
                failing_since = failing_since or time.monotonic()
                if time.monotonic() - failing_since > _MAX_OUTAGE:
                    raise
            else:
                failing_since = 0.0
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise StoreError(self._store.last_error or "the upload was not completed in time")
            self._store.pause(min(pause, remaining))
            pause = min(pause * 1.5, 15)

    def _head(self) -> "Answer | None":
        """The object's headers, or None while it does not exist."""
        try:
            return self._store.request("HEAD", self._parameters["head"], timeout=_SHORT)
        except StoreError as error:
            if error.code in ("403", "404"):  # a response to HEAD has no body with S3's code
                return None
            raise

    def _check_upload(self) -> "Answer | None":
        """None while the upload is open; the object when it was completed meanwhile. Raises StoreError otherwise."""
        try:
            self._store.request("GET", self._parameters["uploaded"], timeout=_SHORT)
        except StoreError as error:
            response = self._head() if error.code == "NoSuchUpload" else None
            if response is None:
                raise
            return response
        return None

    def _check(self, response: Answer) -> None:
        """Raise StoreError when the object's headers show that it is not the announced one."""
        size = response.headers.get("Content-Length")
        if size != str(self._size):
            raise StoreError("the object has %s bytes, %d were announced" % (size, self._size))  # noqa: UP031
        if response.mark != self._parameters["mark"]:
            raise StoreError("the object is not the one that was uploaded: it was replaced")
        parts = max(1, -(-self._size // self._part_size))
        if self._parameters["md5_etags"] and not response.tag.endswith("-%d" % parts):  # noqa: UP031
            raise StoreError("the object is not made of the %d parts that were asked for" % parts)  # noqa: UP031

    def _writable(self) -> Target:
        """The target, whose links are followed. Raises Failure when it cannot be written, and Outside."""
        target = Target(boundary(self._parameters), encoded(self._parameters["path"]))
        target.require_writable()
        return target

    def _fetch(self, number: int) -> bytes:
        return self._store.attempts(self._get, *self._range(number))

    def _get(self, offset: int, length: int) -> bytes:
        """Fetch a range of the object and write it to the file; its MD5."""
        headers = {
            "Range": "bytes=%d-%d" % (offset, offset + length - 1),  # noqa: UP031
            "If-Match": '"%s"' % self._tag,  # noqa: UP031
        }
        digest, end = md5(), offset + length
        with self._store.open("GET", self._parameters["get"], None, headers) as response:
            if response.status != 206:
                raise StoreError("the object store did not answer with the range asked for")
            while offset < end:
                block = self._store.read(response, min(BLOCK, end - offset))
                self._write(block, offset)
                digest.update(block)
                offset += len(block)
        return bytes(digest.digest())

    def _write(self, block: bytes, offset: int) -> None:
        view = memoryview(block)
        while view:
            written = os.pwrite(self._file, view, offset)
            view = view[written:]
            offset += written

    def _verify(self, digests: "list[bytes]") -> None:
        if os.fstat(self._file).st_size != self._size:
            raise StoreError("the file did not arrive whole")
        if not digests:
            digests = [md5().digest()]
        if self._parameters["md5_etags"] and composite(digests, len(digests)) != self._tag:
            raise StoreError("the checksum of what arrived is not the object's")


def main() -> None:
    """Fetch the object that the parameters name."""
    run_job(Ingress)


if __name__ == "__main__":
    main()

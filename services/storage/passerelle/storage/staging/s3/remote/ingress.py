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
from passerelle.storage.staging.remote.job import boundary, encoded, say, stop_listening
from passerelle.storage.staging.s3.remote.http import BLOCK, Answer, Store, Trouble, composite, md5
from passerelle.storage.staging.s3.remote.workers import in_parallel, run_job, tidied, undone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


_SHORT = 20  # seconds for an answer without content
_PATIENCE = 1800  # seconds that a store may be away while the job waits


class Ingress:
    """One file on its way in."""

    def __init__(self, given: "dict[str, Any]", store: Store) -> None:
        self._given = given
        self._store = store
        self._size = int(given["size"])
        self._part_size = int(given["part_size"])
        self._temporary = given["part"].encode()
        self._target: Target | None = None
        self._file = -1
        self._tag = ""

    def run(self) -> bool:
        """Wait for it and fetch it; whether nothing of it stays in the store. Raises Trouble, Failure or OSError."""
        self._writable().close()  # what cannot be written to need not be waited for
        say("Waiting till the file to transfer is available ...")
        found = self._awaited()
        self._check(found)
        self._tag = found.tag
        target = self._target = self._writable()
        old = target.require_writable()
        # What replaces another file must not be readable before it has that one's mode.
        permissions = 0o666 if old is None else 0o600
        self._discard()  # of a run that ended with its node
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        self._file = os.open(self._temporary, flags, permissions, dir_fd=target.directory)
        say("Downloading %d bytes ..." % self._size)  # noqa: UP031
        count = -(-self._size // self._part_size)
        digests = in_parallel(self._store, self._given["parallel"], count, self._fetch)
        self._verify(digests)
        os.fsync(self._file)
        old = target.require_writable()  # something else may have come to be there meanwhile
        if old is not None:
            os.fchmod(self._file, old.st_mode & 0o777)
        stop_listening()  # what is whole is not given up
        target.replace_by(self._temporary)
        gone = tidied(self._store.remove(self._given["delete"]), "the object")
        say("File was successfully downloaded (size: %.3fMB)" % (self._size / (1 << 20)))
        return gone

    def undo(self) -> bool:
        """Leave nothing here and nothing in the store; whether that is so."""
        here = True
        try:
            self._discard()
        except OSError:
            say("The incomplete file could not be removed.")
            here = False
        return undone(self._store, self._given) and here

    def _discard(self) -> None:
        """Remove what is not whole."""
        if self._target is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._temporary, dir_fd=self._target.directory)

    def _awaited(self) -> Answer:
        deadline = time.monotonic() + self._given["wait"]
        pause, silent = 0.5, 0.0  # since when the store has not answered
        while True:
            try:
                found = self._found() or self._still_coming()
                if found:
                    return found
            except Trouble as trouble:
                if not trouble.again:
                    raise
                self._store.tell(trouble)
                silent = silent or time.monotonic()
                if time.monotonic() - silent > _PATIENCE:
                    raise
            else:
                silent = 0.0
            left = deadline - time.monotonic()
            if left <= 0:
                raise Trouble(self._store.fault or "the upload was not completed in time")
            self._store.pause(min(pause, left))
            pause = min(pause * 1.5, 15)

    def _found(self) -> "Answer | None":
        """The object's headers, or None while it is not there."""
        try:
            return self._store.ask("HEAD", self._given["head"], timeout=_SHORT)
        except Trouble as trouble:
            if trouble.code in ("403", "404"):  # without a body, which says more
                return None
            raise

    def _still_coming(self) -> "Answer | None":
        """None while parts may still arrive; the object when it came meanwhile; raises Trouble when neither."""
        try:
            self._store.ask("GET", self._given["uploaded"], timeout=_SHORT)
        except Trouble as trouble:
            found = self._found() if trouble.code == "NoSuchUpload" else None
            if found is None:
                raise
            return found
        return None

    def _check(self, found: Answer) -> None:
        """Whether the object can be what was announced, as far as its headers tell."""
        size = found.headers.get("Content-Length")
        if size != str(self._size):
            raise Trouble("the object has %s bytes, %d were announced" % (size, self._size))  # noqa: UP031
        if found.mark != self._given["mark"]:
            raise Trouble("the object is not the one that was uploaded: it was replaced")
        parts = max(1, -(-self._size // self._part_size))
        if self._given["md5_etags"] and not found.tag.endswith("-%d" % parts):  # noqa: UP031
            raise Trouble("the object is not made of the %d parts that were asked for" % parts)  # noqa: UP031

    def _writable(self) -> Target:
        """Where a link leads, so that it stays one; raises Failure for what cannot be written to."""
        target = Target(boundary(self._given), encoded(self._given["path"]))
        target.require_writable()
        return target

    def _fetch(self, number: int) -> bytes:
        offset = number * self._part_size
        length = min(self._part_size, self._size - offset)
        return self._store.attempts(self._get, offset, length)

    def _get(self, offset: int, length: int) -> bytes:
        """Write one range to its place; its MD5."""
        headers = {
            "Range": "bytes=%d-%d" % (offset, offset + length - 1),  # noqa: UP031
            "If-Match": '"%s"' % self._tag,  # noqa: UP031
        }
        digest, end = md5(), offset + length
        with self._store.opened("GET", self._given["get"], None, headers) as response:
            if response.status != 206:
                raise Trouble("the object store did not answer with the range asked for")
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
            raise Trouble("the file did not arrive whole")
        if not digests:
            digests = [md5().digest()]
        if self._given["md5_etags"] and composite(digests, len(digests)) != self._tag:
            raise Trouble("the checksum of what arrived is not the object's")


def main() -> None:
    """Fetch the object that the parameters name."""
    run_job(Ingress)


if __name__ == "__main__":
    main()

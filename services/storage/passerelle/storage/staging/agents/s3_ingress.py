"""Fetches an object into a file of the system, when it has arrived in the object store.

Runs on the system, on Python 3.6 and newer. Its parameters: `path`; the `mark` in its metadata; `size` in bytes;
`get`, `head`, `delete`, `abort`, `uploaded` (presigned URLs: of the object, and to DELETE its upload or GET that
one's parts); `part_size` in bytes of every part but the last; `parallel` parts; `retries` of each; `wait` in seconds;
`ca`, certificates in PEM or null; `md5_etags`, whether ETags are MD5 sums.
"""

import errno
import os
import time
import uuid

from passerelle.storage.staging.agents.job import parameters, say
from passerelle.storage.staging.agents.s3_crew import (
    encoded,
    in_parallel,
    live,
    stop_listening,
    tidied,
)
from passerelle.storage.staging.agents.s3_http import BLOCK, Answer, Store, Trouble, composite, md5

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Ingress:
    """One file on its way in."""

    def __init__(self, given: "dict[str, Any]", store: Store) -> None:
        self._given = given
        self._store = store
        self._size = int(given["size"])
        self._part_size = int(given["part_size"])
        # Where a link leads, so that it stays one.
        self._target = os.path.realpath(encoded(given["path"]))
        name = ".%s.passerelle-part" % uuid.uuid4().hex  # noqa: UP031
        self._temporary = os.path.join(os.path.dirname(self._target), name.encode())
        self._file = -1
        self._tag = ""

    def run(self) -> None:
        """Wait for it and fetch it; raises Trouble or OSError."""
        if os.path.isdir(self._target):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        say("Waiting till the file to transfer is available ...")
        found = self._awaited()
        self._check(found)
        self._tag = found.tag
        mode = self._mode()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        # What replaces another file must not be readable before it has that one's mode.
        self._file = os.open(self._temporary, flags, 0o666 if mode is None else 0o600)
        say("Downloading %d bytes ..." % self._size)  # noqa: UP031
        count = -(-self._size // self._part_size)
        digests = in_parallel(self._store, self._given["parallel"], count, self._fetch)
        self._verify(digests)
        if mode is not None:
            os.fchmod(self._file, mode)
        os.fsync(self._file)
        stop_listening()  # what is whole is not given up
        os.rename(self._temporary, self._target)
        tidied(self._store.remove(self._given["delete"]), "the object")
        say("File was successfully downloaded (size: %.3fMB)" % (self._size / (1 << 20)))

    def undo(self) -> None:
        """Leave nothing here and nothing in the store."""
        try:
            os.unlink(self._temporary)
        except FileNotFoundError:
            pass
        except OSError:
            say("The incomplete file could not be removed.")
        tidied(self._store.remove(self._given["abort"]), "the parts of the upload")
        tidied(self._store.remove(self._given["delete"]), "the object")

    def _awaited(self) -> Answer:
        deadline = time.monotonic() + self._given["wait"]
        pause = 0.5
        while True:
            try:
                found = self._found() or self._still_coming()
                if found:
                    return found
            except Trouble as trouble:
                if not trouble.again:
                    raise
            left = deadline - time.monotonic()
            if left <= 0:
                raise Trouble("the upload was not completed in time")
            self._store.pause(min(pause, left))
            pause = min(pause * 1.5, 15)

    def _found(self) -> "Answer | None":
        """The object's headers, or None while it is not there."""
        try:
            return self._store.ask("HEAD", self._given["head"])
        except Trouble as trouble:
            if trouble.code in ("403", "404"):  # without a body, which says more
                return None
            raise

    def _still_coming(self) -> "Answer | None":
        """None while parts may still arrive; the object when it came meanwhile; raises Trouble when neither."""
        try:
            self._store.ask("GET", self._given["uploaded"])
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

    def _mode(self) -> "int | None":
        """The permissions of the file that will be replaced, or None when there is none."""
        try:
            return os.stat(self._target).st_mode & 0o777
        except FileNotFoundError:
            return None

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
    given = parameters()
    ingress = Ingress(given, Store(given["ca"], given["retries"]))
    live(given["path"], ingress.run, ingress.undo)


if __name__ == "__main__":
    main()

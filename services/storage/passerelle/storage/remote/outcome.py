"""Running operations: their failures, their progress, and the encoding of names in JSON."""

import codecs
import errno
import json
import os
import stat
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from passerelle.storage.remote.boundary import Boundary

WINDOW = 16
"""How many pieces of a streamed answer may be sent without being acknowledged."""
INTERVAL = 1.0  # seconds between two reports of progress


class Failure(Exception):
    """A system call failed: `step` is what was tried (`access`, `open`, `read` …), `code` its errno.

    `field` is the argument with the path, where that is not `path`. `words` is a message that replaces strerror(3).
    """

    def __init__(self, step: str, path: bytes, code: int, field: str = "", words: str = "") -> None:
        super().__init__(step, path, code, field, words)
        self.step = step
        self.path = path
        self.code = code
        self.field = field
        self.words = words or os.strerror(code)


class NotRegular(Failure):
    """The file of this `mode` is not a regular file, but has to be."""

    def __init__(self, step: str, path: bytes, mode: int) -> None:
        super().__init__(step, path, kind_errno(mode), words=kind_message(mode))


_KINDS = {
    stat.S_IFIFO: "Is a named pipe",
    stat.S_IFSOCK: "Is a socket",
    stat.S_IFCHR: "Is a device",
    stat.S_IFBLK: "Is a device",
}


def kind_errno(mode: int) -> int:
    """The errno for a file of this mode where a regular file is required."""
    return errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL


def kind_message(mode: int) -> str:
    """A message that says what a file of this mode is."""
    return _KINDS.get(stat.S_IFMT(mode), os.strerror(kind_errno(mode)))


class Cancelled(Exception):
    """The service no longer needs the answer."""


class Call:
    """A running operation. `send` sends a piece of its answer; None when the answer is not streamed."""

    def __init__(self, boundary: "Boundary", send: "Callable[[bytes], None] | None" = None) -> None:
        self.boundary = boundary
        self.cancelled = False
        self._send = send
        self._cancellation = threading.Event()
        self._window = threading.Semaphore(WINDOW)
        self._entries = 0
        self._size = 0
        self._total = 0
        self._reported = time.monotonic()

    def check(self) -> None:
        """Raise Cancelled when the answer is no longer needed. Long operations call this regularly."""
        if self.cancelled:
            raise Cancelled

    def cancel(self) -> None:
        """Make the operation end soon, because its answer is no longer needed."""
        self.cancelled = True
        self._cancellation.set()
        self._window.release()

    def wait(self) -> None:
        """Wait for `cancel`, then raise Cancelled."""
        self._cancellation.wait()
        self.check()

    def acknowledge(self) -> None:
        """Allow one more piece to be sent, because the service has received one."""
        self._window.release()

    def send(self, piece: bytes) -> None:
        """Send a piece of a streamed answer; waits while WINDOW pieces are not acknowledged. Raises Cancelled."""
        if self._send is not None:
            self._window.acquire()
            self.check()
            self._send(piece)

    def expect(self, total: int) -> None:
        """Set the total number of bytes that progress reports state."""
        self._total = total

    def advance(self, entries: int = 0, size: int = 0) -> None:
        """Add to the progress, and report it about once a second. Raises Cancelled."""
        self.check()
        self._entries += entries
        self._size += size
        if time.monotonic() - self._reported >= INTERVAL:
            self._reported = time.monotonic()
            self.send(self._progress())

    def result(self, value: "Any" = None) -> bytes:
        """The answer of an operation with progress: JSON with `entries`, `size`, `total` and `result`."""
        return self._progress(result=value)

    def _progress(self, **more: "Any") -> bytes:
        progress = {"entries": self._entries, "size": self._size, "total": self._total, **more}
        return json.dumps(progress).encode()


def _octal(error: "Any") -> "tuple[str, int]":
    invalid = error.object[error.start : error.end]
    return "".join(f"\\{byte:03o}" for byte in invalid), error.end


codecs.register_error("octal", _octal)


def text(name: bytes) -> str:
    """A name as text for messages and JSON; bytes that are not UTF-8 are written as in `\\377`."""
    return name.decode("utf-8", "octal")


def raw(name: str) -> bytes:
    """The bytes of a name from a request. Lone surrogates in it stand for bytes that are not UTF-8 (PEP 383)."""
    return name.encode("utf-8", "surrogateescape")


def described(failure: Failure) -> bytes:
    """A failure in JSON, as an answer carries it."""
    description = {
        "step": failure.step,
        "path": text(failure.path),
        "errno": failure.code,
        "field": failure.field,
        "words": failure.words,
    }
    return json.dumps(description).encode()

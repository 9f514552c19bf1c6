"""How operations are answered and end, and how names travel."""

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
"""How many pieces of a stream may be on their way to somebody who has not taken them."""
INTERVAL = 1.0  # seconds between two words about how far an operation is


class Failure(Exception):
    """A system call failed: what was tried (`access`, `open`, `read` …), on which path, with which errno.

    `field` is the argument at fault, where that is not plain; `words` say why, where strerror(3) would not.
    """

    def __init__(self, step: str, path: bytes, code: int, field: str = "", words: str = "") -> None:
        super().__init__(step, path, code, field, words)
        self.step = step
        self.path = path
        self.code = code
        self.field = field
        self.words = words or os.strerror(code)


class NotRegular(Failure):
    """What has to be a regular file is something else, by its `mode`."""

    def __init__(self, step: str, path: bytes, mode: int) -> None:
        super().__init__(step, path, wrong_kind(mode), words=kind_words(mode))


_KINDS = {
    stat.S_IFIFO: "Is a named pipe",
    stat.S_IFSOCK: "Is a socket",
    stat.S_IFCHR: "Is a device",
    stat.S_IFBLK: "Is a device",
}


def wrong_kind(mode: int) -> int:
    """The errno that says that a file of this mode is no regular one."""
    return errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL


def kind_words(mode: int) -> str:
    """What a file of this mode is, where no errno says it."""
    return _KINDS.get(stat.S_IFMT(mode), os.strerror(wrong_kind(mode)))


class Cancelled(Exception):
    """The service does not want the answer any more."""


class Call:
    """One request being answered; `send` sends a piece of the answer to somebody who takes them one by one, if so."""

    def __init__(self, boundary: "Boundary", send: "Callable[[bytes], None] | None" = None) -> None:
        self.boundary = boundary
        self.cancelled = False
        self._send = send
        self._given_up = threading.Event()
        self._room = threading.Semaphore(WINDOW)
        self._entries = 0
        self._size = 0
        self._total = 0
        self._told = time.monotonic()

    def check(self) -> None:
        """Raise Cancelled when nobody waits for the answer any more; long work asks now and then."""
        if self.cancelled:
            raise Cancelled

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        self.cancelled = True
        self._given_up.set()
        self._room.release()

    def wait(self) -> None:
        """Wait until nobody waits for the answer any more, and raise Cancelled."""
        self._given_up.wait()
        self.check()

    def taken(self) -> None:
        """A piece of the answer has been taken: there is room for one more."""
        self._room.release()

    def send(self, piece: bytes) -> None:
        """Send a piece of a streamed answer, when there is room for it."""
        if self._send is not None:
            self._room.acquire()
            self.check()
            self._send(piece)

    def expect(self, total: int) -> None:
        """Know how many bytes there are to deal with in all."""
        self._total = total

    def advance(self, entries: int = 0, size: int = 0) -> None:
        """Count what has been dealt with, and tell it about once a second; raises as `check`."""
        self.check()
        self._entries += entries
        self._size += size
        if time.monotonic() - self._told >= INTERVAL:
            self._told = time.monotonic()
            self.send(self._progress())

    def result(self, value: "Any" = None) -> bytes:
        """The answer of an operation that told its progress: JSON `entries`, `size`, `total`, and `result`."""
        return self._progress(result=value)

    def _progress(self, **more: "Any") -> bytes:
        progress = {"entries": self._entries, "size": self._size, "total": self._total, **more}
        return json.dumps(progress).encode()


def _octal(error: "Any") -> "tuple[str, int]":
    wrong = error.object[error.start : error.end]
    return "".join(f"\\{byte:03o}" for byte in wrong), error.end


codecs.register_error("octal", _octal)


def text(name: bytes) -> str:
    """A name as people and JSON can carry it."""
    return name.decode("utf-8", "octal")


def raw(name: str) -> bytes:
    """The bytes of a name from a request, in which lone surrogates stand for what is not UTF-8 (PEP 383)."""
    return name.encode("utf-8", "surrogateescape")


def described(failure: Failure) -> bytes:
    """A failure as it travels."""
    told = {"step": failure.step, "path": text(failure.path), "errno": failure.code}
    return json.dumps({**told, "field": failure.field, "words": failure.words}).encode()

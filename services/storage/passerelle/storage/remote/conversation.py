"""The helper's side of the conversation; run as `__main__`, it begins it."""

import errno
import json
import os
import sys
import threading

from passerelle.storage.remote.frames import ANSWER, FAILED, GREETING, LAST, MORE, REQUEST
from passerelle.storage.remote.operations import OPERATIONS
from passerelle.storage.remote.outcome import Call, Cancelled, Failure, described

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

MAX_THREADS = 64  # a call that hangs in a dead filesystem keeps its thread; others must go on


class Conversation:
    """Threads that take turns: one reads the next request, then answers it while another one reads."""

    def __init__(self, source: "BinaryIO", sink: int) -> None:
        self._source = source
        self._sink = sink
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        self._counting = threading.Lock()
        self._threads = 0
        self._free = 0
        self._calls: dict[int, Call] = {}

    def begin(self) -> None:
        """Greet, and start the first thread."""
        self._write(GREETING)
        self._one_more()

    def _one_more(self) -> None:
        self._threads += 1
        self._free += 1
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._reading:
                number, operation, arguments = self._request()
                call = self._calls[number] = Call()
            with self._counting:
                self._free -= 1
                if not self._free and self._threads < MAX_THREADS:
                    self._one_more()
            self._answer(number, call, operation, arguments)
            with self._counting:
                self._free += 1

    def _request(self) -> "tuple[int, str, dict[str, Any]]":
        while True:
            head = self._source.read(REQUEST.size)
            if len(head) < REQUEST.size:
                os._exit(0)
            number, length = REQUEST.unpack(head)
            operation, arguments = json.loads(self._source.read(length).decode())
            if operation != "cancel":
                return number, operation, arguments
            unwanted = self._calls.get(number)
            if unwanted:
                unwanted.cancelled = True

    def _answer(self, number: int, call: Call, operation: str, arguments: "dict[str, Any]") -> None:
        try:
            arguments["path"] = arguments["path"].encode("utf-8", "surrogateescape")
            status, result = LAST, OPERATIONS[operation](call, **arguments)
            if not isinstance(result, bytes):
                for piece in result:
                    self._write(ANSWER.pack(number, MORE, len(piece)) + piece)
                result = b""
        except Cancelled:
            status, result = FAILED, described("cancelled", b"", errno.ECANCELED)
        except Failure as error:
            status, result = FAILED, described(error.step, error.path, error.code)
        except Exception as error:  # a fault of this program; the service logs it
            status, result = FAILED, described("fault " + repr(error), b"", 0)
        del self._calls[number]
        self._write(ANSWER.pack(number, status, len(result)) + result)

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        with self._writing:
            while left:
                try:
                    left = left[os.write(self._sink, left) :]
                except OSError:
                    os._exit(0)  # nobody listens any more


if __name__ == "__main__":
    sys.setrecursionlimit(10000)  # directories may be nested deeper than 1000
    Conversation(sys.stdin.buffer, sys.stdout.fileno()).begin()
    threading.Event().wait()

"""The helper's main program: it reads requests, runs their operations, and sends the answers."""

import errno
import json
import os
import resource
import sys
import threading
import time

from passerelle.storage.remote.boundary import Boundary
from passerelle.storage.remote.frames import (
    ANSWER,
    END,
    FAILED,
    GREETING,
    LAST,
    MARK,
    MORE,
    REQUEST,
)
from passerelle.storage.remote.outcome import Call, Cancelled, Failure, described, raw
from passerelle.storage.remote.registry import OPERATIONS, take_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

MAX_THREADS = (
    64  # a call that hangs in a dead filesystem occupies its thread; others must still run
)
GRACE = 30  # seconds that running calls have to clean up when the channel is closed


class Conversation:
    """Threads that answer requests: each reads one request and answers it, while another thread reads the next."""

    def __init__(self, source: "BinaryIO", sink: int) -> None:
        self._source = source
        self._sink = sink
        self._boundary = Boundary()
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        self._counting = threading.Lock()
        self._ended = threading.Event()
        self._threads = 0
        self._free = 0
        self._calls: dict[int, Call] = {}

    def run(self) -> None:
        """Send the greeting, answer requests until the channel is closed, then cancel running calls and wait."""
        self._write(GREETING)
        self._start_thread()
        self._ended.wait()
        last = time.monotonic() + GRACE
        while self._calls and time.monotonic() < last:
            for call in list(self._calls.values()):
                call.cancel()
            time.sleep(0.02)

    def _start_thread(self) -> None:
        self._threads += 1
        self._free += 1
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._reading:
                number, operation, arguments, streamed = self._request()
                send = self._sender(number)
                call = self._calls[number] = Call(self._boundary, send if streamed else None)
            with self._counting:
                self._free -= 1
                if not self._free and self._threads < MAX_THREADS:
                    self._start_thread()
            self._answer(number, call, operation, arguments, call.send if streamed else send)
            with self._counting:
                self._free += 1

    def _request(self) -> "tuple[int, str, dict[str, Any], bool]":
        while True:
            head = self._source.read(REQUEST.size)
            if len(head) < REQUEST.size:
                self._ended.set()
                sys.exit()  # ends this thread; the other threads read the end of the input, too
            number, length = REQUEST.unpack(head)
            operation, arguments, streamed = json.loads(self._source.read(length).decode())
            if operation == "confine":
                self._boundary = Boundary([raw(root) for root in arguments["roots"]])
            elif operation not in ("cancel", "acknowledge"):
                return number, operation, arguments, streamed
            else:
                call = self._calls.get(number)
                if call:
                    getattr(call, operation)()

    def _sender(self, number: int) -> "Any":
        return lambda piece: self._write(_framed(number, MORE, piece))

    def _answer(
        self, number: int, call: Call, operation: str, arguments: "dict[str, Any]", send: "Any"
    ) -> None:
        try:
            take_paths(operation, arguments, call.boundary)
            status, result = LAST, OPERATIONS[operation](call, **arguments)
            if not isinstance(result, bytes):
                for piece in result:
                    send(piece)
                result = b""
        except Cancelled:
            status, result = FAILED, described(Failure("cancelled", b"", errno.ECANCELED))
        except Failure as error:
            status, result = FAILED, described(error)
        except Exception as error:  # a bug in this program; the service logs it
            status, result = FAILED, described(Failure("fault " + repr(error), b"", 0))
        self._write(_framed(number, status, result))
        del self._calls[number]

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        with self._writing:
            while left:
                try:
                    left = left[os.write(self._sink, left) :]
                except OSError:
                    self._ended.set()
                    return


def _framed(number: int, status: int, payload: bytes) -> bytes:
    return ANSWER.pack(MARK, number, status, len(payload)) + payload + END


if __name__ == "__main__":
    # Directories may be nested deeper than 1000, and every one on the way down is kept open.
    sys.setrecursionlimit(10000)
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    Conversation(sys.stdin.buffer, sys.stdout.fileno()).run()
    os._exit(0)

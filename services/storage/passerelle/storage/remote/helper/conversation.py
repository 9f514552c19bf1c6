"""The helper's main program: it reads requests, runs their operations, and sends the answers."""

import errno
import fcntl
import os
import resource
import select
import sys
import threading
import time
from contextlib import suppress

from passerelle.storage.remote.boundary import Boundary
from passerelle.storage.remote.frames import ANSWER, END, FAILED, GREETING, LAST, MARK, MORE
from passerelle.storage.remote.helper.leading import Leading
from passerelle.storage.remote.helper.requests import Request, Requests
from passerelle.storage.remote.outcome import Call, Cancelled, Failure, described, raw
from passerelle.storage.remote.registry import OPERATIONS, take_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

# A call that hangs in a dead filesystem occupies its thread; others must still run.
MAX_THREADS = 64
# Seconds that the leading thread has to notice that the channel is closed, and then running calls to clean up.
GRACE = 30
HELD = 0.0005  # seconds that an answer may wait for others that are sent with it
SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ of linux/fcntl.h, which Python has only since 3.10
# Bytes, instead of 64 KiB: sshd and the helper wake each other less often for content.
PIPE_SIZE = 1 << 20
LARGE = 1 << 16  # bytes of an answer that is sent alone, and not by the leading thread


class Conversation:
    """Answers requests. The answers to requests that are received together are sent together."""

    def __init__(self, source: "BinaryIO", sink: int) -> None:
        self._source = source
        self._sink = sink
        self._writing = threading.Lock()
        self._ended = threading.Event()
        self._calls: dict[int, Call] = {}
        self._leading = Leading(self._lead, MAX_THREADS)
        # Only the leading thread uses these:
        self._requests = Requests(source)
        self._boundary = Boundary()
        self._held: list[bytes] = []
        self._held_since = 0.0

    def run(self) -> None:
        """Send the greeting, answer requests until the channel is closed, then cancel running calls and wait."""
        self._write(GREETING)
        self._leading.start()
        threading.Thread(target=self._watch_channel, daemon=True).start()
        self._ended.wait()
        last = time.monotonic() + GRACE
        while self._calls and time.monotonic() < last:
            for call in list(self._calls.values()):
                call.cancel()
            time.sleep(0.02)

    def _watch_channel(self) -> None:
        """End the conversation when the channel is closed and no thread reads that: all may hang."""
        channel = select.poll()
        channel.register(self._source, 0)
        channel.poll()
        self._ended.wait(GRACE)
        self._ended.set()

    def _lead(self) -> None:
        """Answer requests until another thread leads."""
        try:
            self._send_held()
            while self._answer_next():
                pass
        except BaseException:  # a helper that nobody leads must not stay
            self._ended.set()
            raise

    def _answer_next(self) -> bool:
        """Answer the next request; whether this thread still leads."""
        request = self._requests.next()
        if request is None:
            self._send_held()
            if not self._requests.receive():
                sys.exit()
        elif request.operation == "confine":
            self._boundary = Boundary([raw(root) for root in request.arguments["roots"]])
        elif request.operation not in ("cancel", "acknowledge"):
            return self._answer(request)
        elif request.number in self._calls:
            getattr(self._calls[request.number], request.operation)()
        return True

    def _answer(self, request: Request) -> bool:
        number, operation, _, streamed = request

        def send(piece: bytes) -> None:
            self._write(_head(number, MORE, piece), piece, END)

        def work() -> "tuple[int, bytes]":
            return _outcome(call, request, call.send if streamed else send)

        call = self._calls[number] = Call(self._boundary, send if streamed else None)
        apart = streamed or not self._leading.quick(operation)
        if apart and self._leading.hand_over():
            self._send(number, *work())
            return False
        if streamed:  # no thread could receive its acknowledgements
            failure = Failure("start", raw(request.arguments["path"]), errno.EAGAIN)
            self._send(number, FAILED, described(failure))
            return True
        (status, result), leads = self._leading.run(operation, work)
        if leads and len(result) < LARGE:
            self._hold(number, status, result)
            return True
        leads = leads and not self._leading.hand_over()
        self._send(number, status, result)
        return leads

    def _hold(self, number: int, status: int, result: bytes) -> None:
        """Send an answer together with the next ones, if they come soon."""
        del self._calls[number]
        now = time.monotonic()
        if not self._held:
            self._held_since = now
        self._held += (_head(number, status, result), result, END)
        if now - self._held_since > HELD:
            self._send_held()

    def _send_held(self) -> None:
        held, self._held = self._held, []
        if held:
            self._write(b"".join(held))

    def _send(self, number: int, status: int, result: bytes) -> None:
        self._write(_head(number, status, result), result, END)
        del self._calls[number]

    def _write(self, *pieces: bytes) -> None:
        if sum(map(len, pieces)) < LARGE:
            pieces = (b"".join(pieces),)
        with self._writing:
            try:
                for piece in pieces:
                    self._write_all(piece)
            except OSError:
                self._ended.set()

    def _write_all(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._sink, left) :]


def _outcome(call: Call, request: Request, send: "Callable[[bytes], None]") -> "tuple[int, bytes]":
    """The status of the answer, and what remains of the answer when its first pieces have been sent."""
    arguments = request.arguments
    try:
        take_paths(request.operation, arguments, call.boundary)
        result = OPERATIONS[request.operation](call, **arguments)
        if isinstance(result, bytes):
            return LAST, result
        return LAST, _remainder(result, send, 0 if request.streamed else LARGE)
    except Cancelled:
        return FAILED, described(Failure("cancelled", b"", errno.ECANCELED))
    except Failure as error:
        return FAILED, described(error)
    except Exception as error:  # a bug in this program; the service logs it
        return FAILED, described(Failure("fault " + repr(error), b"", 0))


def _remainder(pieces: "Iterator[bytes]", send: "Callable[[bytes], None]", limit: int) -> bytes:
    """Send pieces, always as soon as there are more than `limit` bytes; what remains at the end."""
    gathered: list[bytes] = []
    size = 0
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size > limit:
            send(b"".join(gathered))
            gathered, size = [], 0
    return b"".join(gathered)


def _head(number: int, status: int, payload: bytes) -> bytes:
    return ANSWER.pack(MARK, number, status, len(payload))


if __name__ == "__main__":
    # Directories may be nested deeper than 1000, and every one on the way down is kept open.
    sys.setrecursionlimit(10000)
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    for pipe in (sys.stdin, sys.stdout):
        with suppress(OSError):  # it is a socket, or the user's pipes may not take more memory
            fcntl.fcntl(pipe, SET_PIPE_SIZE, PIPE_SIZE)
    Conversation(sys.stdin.buffer, sys.stdout.fileno()).run()
    os._exit(0)

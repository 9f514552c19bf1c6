"""The requests in the helper's input."""

import json

from passerelle.storage.remote.frames import REQUEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO, NamedTuple

    class Request(NamedTuple):
        """A request: its id, an operation and its arguments, and whether the answer is streamed."""

        number: int
        operation: str
        arguments: dict[str, Any]
        streamed: bool
else:
    from collections import namedtuple  # typing takes long to load

    Request = namedtuple("Request", ("number", "operation", "arguments", "streamed"))

READ = 1 << 16


class Requests:
    """Reads requests from `source`."""

    def __init__(self, source: "BinaryIO") -> None:
        self._source = source
        self._buffer = bytearray()
        self._request: Request | None = None
        self._content = bytearray()
        self._missing = 0  # bytes of the content

    def next(self) -> "Request | None":
        """The next request that has been received completely; None when there is none."""
        if self._request is None:
            self._request = self._parsed()
        if self._missing:
            return None
        request, self._request = self._request, None
        return request

    def _parsed(self) -> "Request | None":
        """The next request, as soon as all but its content has been received."""
        if len(self._buffer) < REQUEST.size:
            return None
        number, length, size = REQUEST.unpack_from(self._buffer)
        end = REQUEST.size + length
        if len(self._buffer) < end:
            return None
        operation, arguments, streamed = json.loads(self._buffer[REQUEST.size : end].decode())
        if size:
            arguments["content"] = self._content = bytearray(size)
            received = self._buffer[end : end + size]
            self._content[: len(received)] = received
            self._missing = size - len(received)
            end += len(received)
        del self._buffer[:end]
        return Request(number, operation, arguments, streamed)

    def receive(self) -> bool:
        """Wait for more input; False at its end."""
        if self._missing:
            rest = memoryview(self._content)[-self._missing :]
            received: int = self._source.readinto1(rest)  # type: ignore[attr-defined]  # as well
            self._missing -= received
            return bool(received)
        data = self._source.read1(READ)  # type: ignore[attr-defined]  # a buffered reader has it
        self._buffer += data
        return bool(data)

"""The server's side of a WebSocket (RFC 6455) on a blocking socket: messages, without extensions.

Runs on the system, on Python 3.6 and newer.
"""

import select
import socket
import struct
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_OPCODES = (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG)
_MAX_CONTROL = 125  # section 5.5

# Close codes, section 7.4.1.
NORMAL, GOING_AWAY, PROTOCOL_ERROR, INVALID_DATA, TOO_BIG, INTERNAL_ERROR = (
    1000,
    1001,
    1002,
    1007,
    1009,
    1011,
)
_NO_CODE, _LOST = 1005, 1006  # never sent

_BLOCK = (
    1 << 15
)  # bytes: unmasking is fastest in pieces that fit into a processor's cache (measured)
_CLOSE_TIMEOUT = 10.0  # seconds that a peer may take to close after we have


class ProtocolError(Exception):
    """The peer violated the protocol: the close `code` to send, and the reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Closed(Exception):
    """The peer closed the connection, or it was lost: the close `code`, and the peer's reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__("%s (close code %d)" % (reason, code) if reason else str(code))  # noqa: UP031
        self.code = code
        self.reason = reason


class Message:
    """A received message: its bytes, and whether it is text."""

    def __init__(self, opcode: int, data: bytes) -> None:
        self.text = opcode == TEXT
        self.data = data


class WebSocket:
    """One connection after its handshake.

    A message may have `limit` bytes. `stall` is how many seconds may pass without a byte moving. Methods raise Closed,
    ProtocolError or OSError (a timeout is one, too); only `close` may follow.
    """

    def __init__(self, connection: socket.socket, limit: int, stall: float) -> None:
        connection.settimeout(stall)
        self._connection = connection
        self._limit = limit
        self._unread = 0  # bytes of the frame whose head was read, its mask included
        self._peer_closed = False

    def receive(self) -> Message:
        """The next message, also when it comes in several frames. Pings in between are answered."""
        opcode, pieces, size = CONTINUATION, [], 0
        while True:
            final, kind, data = self._frame(self._limit - size)
            if kind >= CLOSE:
                self._control(kind, data)
                continue
            if (kind == CONTINUATION) == (opcode == CONTINUATION):
                raise ProtocolError(PROTOCOL_ERROR, "fragments are out of order")
            opcode = opcode or kind
            size += len(data)
            if data:  # of empty fragments there may be any number
                pieces.append(data)
            if final:
                return _message(opcode, pieces)

    def send(self, opcode: int, data: "bytes | bytearray") -> None:
        """Send a message as one frame."""
        self._connection.sendall(_first_bytes(opcode, len(data)))
        self._connection.sendall(data)

    def poll(self) -> None:
        """Read control frames that have arrived, without waiting: answer pings, raise Closed if the peer has closed."""
        while select.select([self._connection], [], [], 0)[0]:
            _, kind, data = self._frame(0)
            if kind < CLOSE:
                raise ProtocolError(PROTOCOL_ERROR, "the sender speaks")
            self._control(kind, data)

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame, wait up to 10 s until the peer has closed too, and close the socket."""
        payload = struct.pack("!H", code) + reason.encode()[: _MAX_CONTROL - 2]
        try:
            self.send(CLOSE, payload)
            if not self._peer_closed:
                self._drain()
        except (OSError, Closed):
            pass  # the peer has closed already
        finally:
            self._connection.close()

    def _drain(self) -> None:
        """Read up to the peer's close frame. Closing a socket with unread bytes would discard what we sent last."""
        deadline = time.monotonic() + _CLOSE_TIMEOUT
        while time.monotonic() < deadline:
            self._connection.settimeout(max(0.001, deadline - time.monotonic()))
            if self._unread:
                self._exactly(min(self._unread, 1 << 16))
            elif self._head()[0] & 0x0F == CLOSE:
                return

    def _head(self) -> "tuple[int, bool, int]":
        """The first byte of a frame, whether it is masked, and how many bytes of data it has."""
        first, second = self._exactly(2)
        masked, length = bool(second & 0x80), self._length(second & 0x7F)
        self._unread = length + 4 * masked
        return first, masked, length

    def _frame(self, limit: int) -> "tuple[bool, int, bytes]":
        """One frame with at most `limit` bytes of data: whether it ends a message, its opcode, its data."""
        first, masked, length = self._head()
        final, opcode = bool(first & 0x80), first & 0x0F
        if first & 0x70:
            raise ProtocolError(PROTOCOL_ERROR, "reserved bits are set")
        if opcode not in _OPCODES:
            raise ProtocolError(PROTOCOL_ERROR, "unknown opcode")
        if not masked:
            raise ProtocolError(PROTOCOL_ERROR, "a client masks its frames")
        if opcode >= CLOSE and (length > _MAX_CONTROL or not final):
            raise ProtocolError(PROTOCOL_ERROR, "a control frame is long or fragmented")
        if opcode < CLOSE and length > limit:
            raise ProtocolError(TOO_BIG, "a message is too big")
        key = bytes(self._exactly(4))
        return final, opcode, unmasked(self._exactly(length), key)

    def _length(self, short: int) -> int:
        if short < 126:
            return short
        form = "!H" if short == 126 else "!Q"
        (length,) = struct.unpack(form, self._exactly(struct.calcsize(form)))
        return int(length)

    def _exactly(self, count: int) -> bytearray:
        data = bytearray(count)
        view, done = memoryview(data), 0
        while done < count:
            received = self._connection.recv_into(view[done:])
            if not received:
                raise Closed(_LOST, "the connection was lost")
            done += received
            self._unread = max(0, self._unread - received)
        return data

    def _control(self, kind: int, data: bytes) -> None:
        if kind == PING:
            self.send(PONG, data)
        if kind == CLOSE:
            self._peer_closed = True
            _raise_closed(data)


def unmasked(data: "bytes | bytearray", key: bytes) -> bytes:
    """`data` XOR the repeated `key` of 4 bytes (section 5.3), as big integers."""
    mask = key * (_BLOCK // 4)
    number = int.from_bytes(mask, "little")
    view = memoryview(data)
    pieces = []
    for start in range(0, len(view), _BLOCK):
        piece = view[start : start + _BLOCK]
        if len(piece) < _BLOCK:
            number = int.from_bytes(mask[: len(piece)], "little")
        pieces.append((int.from_bytes(piece, "little") ^ number).to_bytes(len(piece), "little"))
    return b"".join(pieces)


def _first_bytes(opcode: int, length: int) -> bytes:
    """The head of an unmasked frame that is a whole message."""
    if length < 126:
        return struct.pack("!BB", 0x80 | opcode, length)
    if length < 1 << 16:
        return struct.pack("!BBH", 0x80 | opcode, 126, length)
    return struct.pack("!BBQ", 0x80 | opcode, 127, length)


def _message(opcode: int, pieces: "list[bytes]") -> Message:
    data = b"".join(pieces)
    if opcode == TEXT:
        try:
            data.decode()
        except UnicodeDecodeError:
            raise ProtocolError(INVALID_DATA, "text is not UTF-8") from None
    return Message(opcode, data)


def _raise_closed(data: bytes) -> "NoReturn":
    if not data:
        raise Closed(_NO_CODE, "")
    if len(data) == 1:
        raise ProtocolError(PROTOCOL_ERROR, "half a close code")
    (code,) = struct.unpack("!H", data[:2])
    raise Closed(code, data[2:].decode("utf-8", "replace"))

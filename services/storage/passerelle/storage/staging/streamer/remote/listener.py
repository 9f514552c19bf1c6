"""A streaming job waits here for the peer that knows its secret.

The opening handshake is that of RFC 6455, section 4.2. FirecREST's streamer also answers 401 and 403.
Runs on the system, on Python 3.6 and newer.
"""

import base64
import binascii
import errno
import hashlib
import hmac
import selectors
import socket
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MAX_HEAD = 8192  # bytes
_MAX_WAITING = 64  # connections that have not shown the secret yet
_HEAD_TIMEOUT = 10.0  # seconds that each of them may take
_IN_USE = (errno.EADDRINUSE, errno.EACCES)


class NoPort(Exception):
    """Every port of the range is in use, or the address is not one of this machine; the text says which."""


class NoPeer(Exception):
    """Nobody showed the secret in time."""


class _Refused(Exception):
    def __init__(self, status: str, *headers: str) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers


class _Candidate:
    """A connection that has not shown the secret yet: the head of its request so far, and its deadline."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.head = bytearray()
        self.deadline = time.monotonic() + _HEAD_TIMEOUT


def listen(host: "str | None", first: int, last: int) -> socket.socket:
    """A socket that listens on the first free port from `first` to `last`, of all interfaces when `host` is None."""
    refusal = "no address"
    for family, address in _addresses(host):
        for port in range(first, last + 1):
            try:
                return _bound(family, address, port)
            except OSError as error:
                refusal = error.strerror or str(error)
                if error.errno not in _IN_USE:
                    break
    where = "%s ports %d to %d" % (host or "all interfaces,", first, last)  # noqa: UP031
    raise NoPort("Cannot listen on %s: %s" % (where, refusal))  # noqa: UP031


def _addresses(host: "str | None") -> "list[tuple[socket.AddressFamily, Any]]":
    if host is None:  # IPv6's `::` takes IPv4, too, where the system has IPv6
        return [(socket.AF_INET6, ("::", 0)), (socket.AF_INET, ("0.0.0.0", 0))]  # noqa: S104
    try:
        addresses = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NoPort("Cannot listen on %s: %s" % (host, error.strerror)) from None  # noqa: UP031
    return [(address[0], address[4]) for address in addresses]


def _bound(family: socket.AddressFamily, address: "Any", port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != "::"))
        listener.bind((address[0], port, *address[2:]))
        listener.listen(_MAX_WAITING)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def accept_peer(listener: socket.socket, secret: str, timeout: float) -> socket.socket:
    """The connection of the first peer that shows the secret, upgraded to a WebSocket; closes the listener, always.

    Others may come and fail meanwhile. Raises NoPeer after `timeout` seconds.
    """
    with listener, selectors.DefaultSelector() as selector:
        candidates = _Candidates(selector, secret)
        selector.register(listener, selectors.EVENT_READ)
        deadline = time.monotonic() + timeout
        try:
            while time.monotonic() < deadline:
                for key, _ in selector.select(min(1.0, max(0.0, deadline - time.monotonic()))):
                    if key.data is None:
                        candidates.accept(listener)
                        continue
                    addresses = candidates.read(key.data)
                    if addresses:
                        return addresses
                candidates.drop_expired()
            raise NoPeer("Nobody connected within %d s." % timeout)  # noqa: UP031
        finally:
            candidates.drop_all()


class _Candidates:
    """The connections that have not shown the secret yet."""

    def __init__(self, selector: selectors.BaseSelector, secret: str) -> None:
        self._selector = selector
        self._secret = secret
        self._waiting = []  # type: list[_Candidate]  # the longest first

    def accept(self, listener: socket.socket) -> None:
        """Accept one more; when there are too many, the one that has waited longest is dropped."""
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # closed by the peer
        if len(self._waiting) >= _MAX_WAITING:
            self._drop(self._waiting[0])
        candidate = _Candidate(connection)
        self._waiting.append(candidate)
        self._selector.register(connection, selectors.EVENT_READ, candidate)

    def read(self, candidate: _Candidate) -> "socket.socket | None":
        """Read what has arrived; the connection, when that completes a handshake with the secret."""
        try:
            received = candidate.connection.recv(_MAX_HEAD)
            candidate.head += received
            if b"\r\n\r\n" not in candidate.head:
                if not received or len(candidate.head) > _MAX_HEAD:
                    self._drop(candidate)
                return None
            return self._admitted(candidate)
        except _Refused as refused:
            self._drop(candidate, refused)
        except OSError:
            self._drop(candidate)
        return None

    def _admitted(self, candidate: _Candidate) -> socket.socket:
        candidate.connection.sendall(_handshake_reply(bytes(candidate.head), self._secret))
        self._waiting.remove(candidate)
        self._selector.unregister(candidate.connection)
        return candidate.connection

    def drop_expired(self) -> None:
        """Drop those that have taken too long."""
        while self._waiting and self._waiting[0].deadline < time.monotonic():
            self._drop(self._waiting[0])

    def drop_all(self) -> None:
        """Drop all."""
        while self._waiting:
            self._drop(self._waiting[0])

    def _drop(self, candidate: _Candidate, refused: "_Refused | None" = None) -> None:
        self._waiting.remove(candidate)
        self._selector.unregister(candidate.connection)
        with candidate.connection:
            if refused:
                _refuse(candidate.connection, refused)


def _refuse(connection: socket.socket, refused: _Refused) -> None:
    lines = ("HTTP/1.1 " + refused.status, "Content-Length: 0", "Connection: close")
    try:
        connection.sendall("\r\n".join(lines + refused.headers + ("", "")).encode())
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # closed by the peer


def _handshake_reply(head: bytes, secret: str) -> bytes:
    """The answer that accepts a handshake; raises _Refused for any other request."""
    request, headers = _parsed(head)
    if "authorization" not in headers:
        raise _Refused("401 Unauthorized", "WWW-Authenticate: Bearer")
    credential = headers["authorization"].encode("latin-1")
    if not hmac.compare_digest(credential, b"Bearer " + secret.encode()):
        raise _Refused("403 Forbidden")
    if not _is_handshake(request, headers):
        raise _Refused("426 Upgrade Required", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    accept = _accept(headers.get("sec-websocket-key", ""))
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def _is_handshake(request: str, headers: "dict[str, str]") -> bool:
    tokens = [token.strip() for token in headers.get("connection", "").lower().split(",")]
    return (
        request.startswith("GET ")
        and request.endswith(" HTTP/1.1")
        and headers.get("upgrade", "").lower() == "websocket"
        and "upgrade" in tokens
        and headers.get("sec-websocket-version") == "13"
    )


def _parsed(head: bytes) -> "tuple[str, dict[str, str]]":
    """The request line and the headers, names in lower case; raises _Refused."""
    text, _, content = head.decode("latin-1").partition("\r\n\r\n")
    request, *lines = text.split("\r\n")
    pairs = [line.partition(":") for line in lines]
    headers = {name.lower(): value.strip() for name, colon, value in pairs if colon}
    # A client sends nothing more before the answer. A header that comes twice is ambiguous.
    if content or len(headers) != len(lines):
        raise _Refused("400 Bad Request")
    return request, headers


def _accept(key: str) -> bytes:
    try:
        if len(base64.b64decode(key, validate=True)) != 16:
            raise _Refused("400 Bad Request")
    except (binascii.Error, ValueError):
        raise _Refused("400 Bad Request") from None
    digest = hashlib.sha1(key.encode() + _GUID)  # noqa: S324  # required by RFC 6455, not for security
    return base64.b64encode(digest.digest())

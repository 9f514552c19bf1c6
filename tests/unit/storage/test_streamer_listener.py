"""Where a streaming job waits: who is let in, who is not, and on which port."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import NoReturn

import pytest

from passerelle.storage.staging.streamer.remote.listener import NoPeer, NoPort, accept_peer, listen

# The key and its answer are RFC 6455's own example (section 1.3).
HANDSHAKE = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "Authorization": "Bearer secret",
}
ACCEPTED = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.fixture
def waiting() -> "Iterator[tuple[int, Future[socket.socket]]]":
    """The port, and what becomes of the waiting."""
    listener = listen("127.0.0.1", 0, 0)
    port = int(listener.getsockname()[1])
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(accept_peer, listener, "secret", 20)
        yield port, future
        with suppress(ConnectionError):  # nobody waits any more
            answer(port, request())
        future.result(20).close()


def request(line: str = "GET / HTTP/1.1", **changes: str | None) -> bytes:
    """A handshake; `changes` are headers with _ for -, None for one to leave out."""
    named = {name.replace("_", "-"): value for name, value in changes.items()}
    headers = {**HANDSHAKE, **named}
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join((line, *lines, "", "")).encode()


def answer(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(request)
        return client.recv(4096)


def test_the_handshake_of_the_rfc(waiting: "tuple[int, Future[socket.socket]]") -> None:
    port, future = waiting
    output = answer(port, request())
    assert output.startswith(b"HTTP/1.1 101 ")
    assert ACCEPTED in output.split(b"\r\n")
    assert future.result(20)


@pytest.mark.parametrize(
    ("sent_value", "status"),
    [
        (request(Authorization=None), b"401"),
        (request(Authorization="Bearer other"), b"403"),
        (request(Authorization="secret"), b"403"),
        (request(Authorization="Bearer secret2"), b"403"),
        (request(Authorization="Bearer \xe9"), b"403"),
        (request(Upgrade=None), b"426"),
        (request(Upgrade="h2c"), b"426"),
        (request(Connection="keep-alive"), b"426"),
        (request(Sec_WebSocket_Version="8"), b"426"),
        (request("POST / HTTP/1.1"), b"426"),
        (request("GET / HTTP/1.0"), b"426"),
        (request("\xff"), b"426"),
        (request(Sec_WebSocket_Key=None), b"400"),
        (request(Sec_WebSocket_Key="c2hvcnQ="), b"400"),
        (request(Sec_WebSocket_Key="not base64!"), b"400"),
        (request(authorization="Bearer other"), b"400"),  # twice
        (request() + b"more", b"400"),
        (b"\r\n\r\n", b"401"),
        (b"GET / HTTP/1.1\r\nno header\r\n\r\n", b"400"),
    ],
)
def test_who_is_not_let_in(
    waiting: "tuple[int, Future[socket.socket]]", sent_value: bytes, status: bytes
) -> None:
    port, future = waiting
    output = answer(port, sent_value)
    assert output.split(b" ")[1] == status
    assert output.endswith(b"\r\n\r\n")
    assert not future.done()
    assert answer(port, request()).startswith(b"HTTP/1.1 101 ")


def test_after_one_nobody_else(waiting: "tuple[int, Future[socket.socket]]") -> None:
    port, future = waiting
    answer(port, request())
    future.result(20)
    with pytest.raises(ConnectionError):
        answer(port, request())


def test_a_head_without_end_is_not_read_to_it(
    waiting: "tuple[int, Future[socket.socket]]",
) -> None:
    port, _ = waiting
    with pytest.raises(ConnectionError):
        _send_for_ever(port)


def _send_for_ever(port: int) -> NoReturn:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        while True:
            client.sendall(b"x" * 4096)


def test_strangers_do_not_keep_the_guest_out(
    waiting: "tuple[int, Future[socket.socket]]",
) -> None:
    port, future = waiting
    strangers = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(100)]
    strangers[-1].sendall(request()[:50])
    assert answer(port, request()).startswith(b"HTTP/1.1 101 ")
    assert future.result(20)
    for stranger in strangers:
        with stranger:
            assert _over(stranger)


def _over(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_a_handshake_in_pieces(waiting: "tuple[int, Future[socket.socket]]") -> None:
    port, _ = waiting
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        for byte in request():
            client.sendall(bytes((byte,)))
        assert client.recv(4096).startswith(b"HTTP/1.1 101 ")


def test_nobody_comes() -> None:
    listener = listen("127.0.0.1", 0, 0)
    with pytest.raises(NoPeer, match="0 s"):
        accept_peer(listener, "secret", 0.1)
    assert listener.fileno() == -1


def test_taken_ports_are_skipped() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with listen("127.0.0.1", taken, taken + 20) as listener:
            assert taken < listener.getsockname()[1] <= taken + 20
        with pytest.raises(NoPort, match=f"127.0.0.1 ports {taken} to {taken}: .*in use"):
            listen("127.0.0.1", taken, taken)


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid"])
def test_an_address_of_another_machine(host: str) -> None:
    with pytest.raises(NoPort, match=host):
        listen(host, 5665, 5675)


def test_all_interfaces() -> None:
    with listen(None, 0, 0) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=answer, args=(port, request()))
        thread.start()
        accept_peer(listener, "secret", 20).close()
        thread.join()

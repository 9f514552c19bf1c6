"""The WebSocket of transfer jobs against the `websockets` library, and against peers that break the rules."""

import asyncio
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NoReturn

import pytest
import websockets.frames
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from passerelle.storage.staging.streamer.remote.listener import accept_peer, listen
from passerelle.storage.staging.streamer.remote.websocket import (
    BINARY,
    TEXT,
    Closed,
    ProtocolError,
    WebSocket,
    unmasked,
)
from tests.ports import free_port

LIMIT = 1000
MASK = b"\x01\x02\x03\x04"


@contextmanager
def pair(stall: float = 20) -> Iterator[tuple[socket.socket, WebSocket]]:
    """A bare client, and the server's side after the handshake."""
    client, server = socket.socketpair()
    with client, server:
        yield client, WebSocket(server, LIMIT, stall)


def frame(first: int, data: bytes) -> bytes:
    """A masked frame with that first byte."""
    return bytes((first, 0x80 | len(data))) + MASK + unmasked(data, MASK)


@given(st.binary(max_size=70_000), st.binary(min_size=4, max_size=4))
def test_unmasking_is_xor_with_the_repeated_key(data: bytes, key: bytes) -> None:
    assert unmasked(data, key) == bytes(byte ^ key[index % 4] for index, byte in enumerate(data))


@given(
    st.lists(st.binary(max_size=300), min_size=1, max_size=3),
    st.binary(max_size=125),
    st.booleans(),
)
def test_messages_as_the_library_writes_them(parts: list[bytes], ping: bytes, fin: bool) -> None:
    opcodes = [websockets.frames.Opcode.BINARY, *[websockets.frames.Opcode.CONT] * 2]
    with pair() as (client, server):
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            made = websockets.frames.Frame(opcodes[number], part, fin=last)
            client.sendall(made.serialize(mask=True))
            if not last and fin:
                noise = websockets.frames.Frame(websockets.frames.Opcode.PING, ping)
                client.sendall(noise.serialize(mask=True))
        message = server.receive()
        assert (message.text, message.data) == (False, b"".join(parts))
        if fin and len(parts) > 1:
            assert client.recv(4096).startswith(bytes((0x8A, len(ping))) + ping)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x82\x01x", 1002),  # no mask
        (frame(0xC2, b"x"), 1002),  # a reserved bit, as of permessage-deflate
        (frame(0x83, b"x"), 1002),  # no such opcode
        (frame(0x8B, b""), 1002),
        (b"\x89\xfe\x00\x7e" + MASK + bytes(126), 1002),  # a long ping
        (frame(0x09, b""), 1002),  # half a ping
        (frame(0x80, b"x"), 1002),  # goes on with nothing
        (frame(0x02, b"x") + frame(0x82, b"y"), 1002),  # two at once
        (frame(0x88, b"\x03"), 1002),  # half a close code
        (frame(0x81, b"\xff"), 1007),
        (b"\x82\xfe" + struct.pack("!H", LIMIT + 1) + MASK, 1009),
        (b"\x82\xff" + struct.pack("!Q", 1 << 62) + MASK, 1009),
        (frame(0x02, bytes(100)) + b"\x80\xfe" + struct.pack("!H", LIMIT - 99) + MASK, 1009),
    ],
)
def test_whoever_breaks_a_rule_is_told_the_code(sent: bytes, code: int) -> None:
    with pair() as (client, server):
        client.sendall(sent)
        with pytest.raises(ProtocolError) as broken:
            server.receive()
        client.shutdown(socket.SHUT_WR)
        server.close(broken.value.code, "because")
        assert broken.value.code == code
        assert client.recv(4096) == struct.pack("!BBH", 0x88, 9, code) + b"because"


@given(st.binary(max_size=200))
def test_noise_ends_in_an_error_that_the_job_knows(noise: bytes) -> None:
    with pair() as (client, server):
        client.sendall(noise)
        client.shutdown(socket.SHUT_WR)
        with pytest.raises((Closed, ProtocolError)):
            _receive_for_ever(server)


def test_a_connection_lost_in_the_middle_of_a_frame() -> None:
    with pair() as (client, server):
        client.sendall(frame(0x82, b"content")[:-1])
        client.close()
        with pytest.raises(Closed) as lost:
            server.receive()
        assert lost.value.code == 1006


def test_a_peer_that_says_nothing() -> None:
    with pair(stall=0.1) as (_, server), pytest.raises(TimeoutError):
        server.receive()


def test_while_sending_pings_are_answered_and_a_close_is_noticed() -> None:
    with pair() as (client, server):
        server.poll()
        client.sendall(frame(0x89, b"there?") + frame(0x88, struct.pack("!H", 3003) + b"enough"))
        with pytest.raises(Closed, match="enough") as closed:
            server.poll()
        assert closed.value.code == 3003
        assert client.recv(100) == b"\x8a\x06there?"


def test_while_sending_the_peer_has_to_listen() -> None:
    with pair() as (client, server):
        client.sendall(frame(0x82, b"x"))
        with pytest.raises(ProtocolError):
            server.poll()


async def test_the_library_as_client() -> None:
    """Each length has its own form of head; the library's own limit is 1 MiB."""
    listener = listen("127.0.0.1", *one_free_port())
    port = listener.getsockname()[1]

    def serve() -> "tuple[int, str]":
        peer = WebSocket(accept_peer(listener, "secret", 20), 1 << 20, 20)
        try:
            while True:
                message = peer.receive()
                peer.send(TEXT if message.text else BINARY, message.data)
        except Closed as closed:
            return closed.code, closed.reason
        finally:
            peer.close(1000)

    served = asyncio.create_task(asyncio.to_thread(serve))
    headers = {"Authorization": "Bearer secret"}
    async with connect(f"ws://127.0.0.1:{port}", additional_headers=headers) as client:
        for size in (0, 125, 126, 65535, 65536, 1 << 20):
            await client.send(bytes(size))
            assert await client.recv() == bytes(size)
        await client.send(["frag", "ménts"])
        assert await client.recv() == "fragménts"
        await (await client.ping())
        await client.close(1000, "done")
    assert await served == (1000, "done")


def test_a_client_that_is_still_sending_hears_why_it_is_closed() -> None:
    with pair() as (client, server), ThreadPoolExecutor(2) as pool:
        big = b"\x82\xff" + struct.pack("!Q", 5 << 20) + MASK + bytes(5 << 20)
        sending = pool.submit(client.sendall, big)
        with pytest.raises(ProtocolError):
            server.receive()
        closing = pool.submit(server.close, 1009, "too big")
        sending.result(20)
        client.shutdown(socket.SHUT_WR)
        closing.result(20)
        assert client.recv(4096) == struct.pack("!BBH", 0x88, 9, 1009) + b"too big"


def _receive_for_ever(server: WebSocket) -> NoReturn:
    while True:
        server.receive()


def one_free_port() -> tuple[int, int]:
    """A range of one port that is free."""
    port = free_port()
    return port, port

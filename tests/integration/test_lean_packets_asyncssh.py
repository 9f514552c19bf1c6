"""asyncssh as the pool changes it, with asyncssh's own server as it is installed."""

import asyncio
import logging
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.connection import SSHConnection
from asyncssh.encryption import Encryption, get_encryption
from asyncssh.logging import SSHLogger

from passerelle.runtime.ssh import lean_packets
from passerelle.runtime.ssh.lean_packets import TESTED, OneKeyEncryption
from tests.plain_sshd import READ, running_plain_sshd

GCM = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
CHACHA = "chacha20-poly1305@openssh.com"
OTHERS = ("aes256-ctr", "aes128-cbc")
MANY = 3_000_000
"""Bytes: ten times as many as a key is used for, where keys are exchanged again."""
REKEY = MANY // 10


@pytest.fixture(autouse=True)
def lean() -> None:
    assert lean_packets.install(), f"asyncssh is not {TESTED}: read `lean_packets.TESTED`"


@asynccontextmanager
async def connected(
    cipher: str, *, client: dict[str, Any] | None = None, server: dict[str, Any] | None = None
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection to a plain server, each side with options of its own."""
    with running_plain_sshd(encryption_algs=[cipher], **(server or {})) as port:
        async with asyncssh.connect(
            "127.0.0.1",
            port,
            username="alice",
            known_hosts=None,
            client_keys=None,
            config=None,
            agent_path=None,
            encryption_algs=[cipher],
            **(client or {}),
        ) as connection:
            yield connection


async def echoed(connection: asyncssh.SSHClientConnection, data: bytes, seed: int = 0) -> bytes:
    """What the server sends back of the data, which is written in pieces of many sizes."""
    cuts = random.Random(seed)  # noqa: S311
    process: asyncssh.SSHClientProcess[bytes] = await connection.create_process(encoding=None)

    async def send() -> None:
        at = 0
        while at < len(data):
            size = cuts.choice((1, 15, 16, 17, 3_000, 32_768, 70_000, 300_000))
            process.stdin.write(data[at : at + size])
            await process.stdin.drain()
            at += size
        process.stdin.write_eof()

    sending = asyncio.create_task(send())
    try:
        return await process.stdout.read()
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> list[Encryption]:
    """Everything that is made to encrypt or decrypt with a new key."""
    made: list[Encryption] = []

    def noted(*arguments: Any) -> Encryption:
        made.append(get_encryption(*arguments))
        return made[-1]

    monkeypatch.setattr("asyncssh.connection.get_encryption", noted)
    return made


@pytest.mark.parametrize("asking", ["client", "server"])
@pytest.mark.parametrize("cipher", [*GCM, CHACHA, *OTHERS])
async def test_content_comes_back_across_many_key_exchanges(
    cipher: str, asking: str, keys: list[Encryption]
) -> None:
    data = os.urandom(MANY)
    options: dict[str, Any] = {asking: {"rekey_bytes": REKEY}}
    async with connected(cipher, **options) as connection:
        assert await echoed(connection, data) == data
    assert len(keys) >= 2 * 5
    assert {type(key) is OneKeyEncryption for key in keys} == {cipher in GCM}
    if cipher in GCM:
        assert len({id(key._aead) for key in keys}) == len(keys)  # type: ignore[attr-defined]
        assert len({key._cipher._key for key in keys}) == len(keys)  # type: ignore[attr-defined]


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size in bytes of everything that a client hands to its socket."""
    sizes: list[int] = []
    send = SSHConnection._send

    def note(connection: SSHConnection, data: bytes) -> None:
        sizes.append(len(data))
        send(connection, data)

    monkeypatch.setattr(SSHConnection, "_send", note)
    return sizes


async def test_packets_of_large_data_are_written_together(writes: list[int]) -> None:
    data = os.urandom(1 << 20)
    async with connected(GCM[0]) as connection:
        process: asyncssh.SSHClientProcess[bytes] = await connection.create_process(encoding=None)
        writes.clear()
        process.stdin.write(data)
        assert writes == [8 * (4 + 1 + 9 + 32_768 + 6 + 16)] * 4
        process.stdin.write_eof()
        assert await process.stdout.read() == data


@pytest.mark.parametrize(
    "server",
    [
        {"window": 100_000},  # less than what is written at once
        {"window": 100_000, "max_pktsize": 1_000},
        {"compression_algs": ["zlib@openssh.com"]},
        {"rekey_seconds": 0.01},
    ],
)
async def test_content_comes_back_whatever_the_server_takes(
    server: dict[str, Any], writes: list[int]
) -> None:
    data = random.Random(1).randbytes(MANY // 2)  # noqa: S311
    client = {key: value for key, value in server.items() if key not in ("window", "max_pktsize")}
    async with connected(GCM[0], client=client, server=server) as connection:
        assert await echoed(connection, data) == data
    several = 2 * server.get("max_pktsize", 32_768)
    assert (max(writes) > several) == ("compression_algs" not in server)


@pytest.mark.parametrize("cipher", [GCM[0], CHACHA, OTHERS[0]])
async def test_big_files_have_equal_checksums(cipher: str, tmp_path: Path) -> None:
    source, there, back = (tmp_path / name for name in ("source", "there", "back"))
    source.write_bytes(os.urandom(20 << 20))
    async with (
        connected(cipher, client={"rekey_bytes": 3 << 20}) as connection,
        connection.start_sftp_client() as sftp,
    ):
        await sftp.put(str(source), str(there))
        await sftp.get(str(there), str(back))
    sums = {sha256(path.read_bytes()).hexdigest() for path in (source, there, back)}
    assert len(sums) == 1


Receive = Callable[[SSHConnection, bytes, Any], None]


def recut(sizes: Callable[[], int], change: Callable[[bytes], bytes] = bytes) -> Receive:
    """A `data_received` that hands on what comes in pieces of other sizes, `change`d."""
    receive: Receive = SSHConnection.data_received
    held: dict[SSHConnection, bytearray] = {}

    def hand_on(connection: SSHConnection) -> None:
        data = held.pop(connection)
        while data and not connection.is_closed():
            size = sizes()
            piece = bytes(data[:size])
            del data[:size]
            receive(connection, change(piece), None)

    def hold(connection: SSHConnection, data: bytes, _: Any = None) -> None:
        if connection not in held:
            held[connection] = bytearray()
            asyncio.get_running_loop().call_later(0.01, hand_on, connection)
        held[connection] += data

    return hold


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("asking", ["client", "server"])
async def test_packets_may_be_cut_anywhere(
    seed: int, asking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = random.Random(seed)  # noqa: S311
    sizes = (1, 3, 16, 20, 33, 5_000, 32_767, 32_768, 33_000, 70_000, 1 << 20)
    monkeypatch.setattr(SSHConnection, "data_received", recut(lambda: cuts.choice(sizes)))
    data = os.urandom(MANY // 2)
    options: dict[str, Any] = {asking: {"rekey_bytes": REKEY}}
    async with connected(GCM[0], **options) as connection:
        assert await echoed(connection, data, seed) == data


async def read_zeros(process: "asyncssh.SSHClientProcess[bytes]") -> None:
    """Read to the end, and accept nothing but zeros."""
    while data := await process.stdout.read(READ):
        assert data == bytes(len(data))


@pytest.mark.parametrize("size", [1_000, 1 << 20])
async def test_what_was_changed_on_the_way_ends_the_connection(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing = False

    def change(piece: bytes) -> bytes:
        middle = len(piece) // 2
        if changing:
            return piece[:middle] + bytes([piece[middle] ^ 1]) + piece[middle + 1 :]
        return piece

    monkeypatch.setattr(SSHConnection, "data_received", recut(lambda: size, change))
    async with connected(GCM[0]) as connection:
        process: asyncssh.SSHClientProcess[bytes] = await connection.create_process(encoding=None)
        process.stdin.write(b"begin")
        assert await process.stdout.read(5) == b"begin"
        changing = True
        process.stdin.write(bytes(500_000))
        with pytest.raises((asyncssh.MACError, asyncssh.ProtocolError)):
            await read_zeros(process)
        assert connection.is_closed()


@pytest.mark.parametrize(
    ("cipher", "packets"), [(GCM[0], 1), (GCM[1], 1), (CHACHA, 1), *((name, 2) for name in OTHERS)]
)
async def test_of_a_counting_nonce_no_packet_is_sent_before_another(
    cipher: str, packets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    send = SSHConnection._send

    def note(connection: SSHConnection, data: bytes) -> None:
        sent.append(data)
        send(connection, data)

    async with connected(cipher) as connection:
        process: asyncssh.SSHClientProcess[bytes] = await connection.create_process(encoding=None)
        monkeypatch.setattr(SSHConnection, "_send", note)
        process.stdin.write(b"x")
        assert await process.stdout.read(1) == b"x"
        assert len(sent) == packets


async def test_packets_are_logged_where_that_is_wanted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "asyncssh")
    async with connected(GCM[0]) as connection:
        await echoed(connection, b"x")
        assert "MSG_CHANNEL_DATA" not in caplog.text
        monkeypatch.setattr(SSHLogger, "_debug_level", 3)
        await echoed(connection, b"x")
        assert "Sent MSG_CHANNEL_DATA (94)" in caplog.text
        assert "Received MSG_CHANNEL_DATA (94)" in caplog.text


OTHER_VERSION = """
import logging, asyncssh
from asyncssh import encryption
asyncssh.__version__ = "2.99.0"
replaced = asyncssh.connection.SSHConnection, asyncssh.packet.SSHPacketLogger, asyncssh.logging.SSHLogger
before = [dict(vars(owner)) for owner in replaced], dict(encryption._enc_params)
from passerelle.runtime.ssh import lean_packets
logging.basicConfig(level=logging.INFO)
assert not lean_packets.install() and not lean_packets.install()
assert before == ([dict(vars(owner)) for owner in replaced], dict(encryption._enc_params))
"""


def test_another_version_is_used_as_it_is() -> None:
    ran = subprocess.run((sys.executable, "-c", OTHER_VERSION), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("asyncssh 2.99.0 is used as it is") == 1

"""Less work for each SSH packet, in the one version of asyncssh with which this is tested.

asyncssh does five things for each packet that cost more than they give, measured with AES-GCM:

- It sends an MSG_IGNORE before it. That is a measure against predictable initialization vectors of CBC (RFC 4251
  §9.3.1). AES-GCM and ChaCha20-Poly1305 have none: their nonces are counters.
- It makes a new AESGCM object, which derives the key schedule again.
- It makes the text of log messages that no handler sees.
- It copies everything that was received behind the packet, twice.
- It copies data to be sent eight times, and writes each packet by itself.

`install` replaces six functions of asyncssh, which then call the originals, and the class of the AES-GCM ciphers.
All decisions stay asyncssh's: packets, sequence numbers, nonces, padding and key exchanges. Only the packets that large
data fills are made here, by the same rules. The random padding is kept: 4 to 19 bytes cost 0.4 µs, and RFC 4253 §6 asks
for it. Ciphers of other kinds are used as before.
"""

import functools
import logging
import os
import struct
import time
from typing import Any, cast

import asyncssh
from asyncssh import encryption
from asyncssh.channel import SSHChannel
from asyncssh.connection import SSHConnection
from asyncssh.constants import MSG_CHANNEL_DATA, MSG_IGNORE
from asyncssh.crypto import GCMCipher
from asyncssh.encryption import ChachaEncryption, GCMEncryption
from asyncssh.logging import SSHLogger
from asyncssh.packet import SSHPacketLogger
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

log = logging.getLogger(__name__)

TESTED = "2.24.1"
"""The version of asyncssh that is changed. Before it is raised, compare the originals of what is replaced here."""

# Bytes received or sent at once from which on a view of them pays: the data of more than one packet.
_LARGE = 1 << 15
_PACKETS_AT_ONCE = 8
_DATA_HEAD = struct.Struct(
    ">BII"
)  # of a packet with data (RFC 4254 §5.2): its type, the channel, the size
_LEAST_PADDING = 4  # bytes, by RFC 4253 §6
_PACKET_LOG = 3  # asyncssh's debug level that logs packets


@functools.cache
def install() -> bool:
    """Change asyncssh for this process; False, with a line in the log, when its version is another one."""
    if asyncssh.__version__ != TESTED:
        log.info(
            "asyncssh %s is used as it is: its packets cost more time than those of %s, which is tested",
            asyncssh.__version__,
            TESTED,
        )
        return False
    for algorithm, (kind, cipher) in encryption._enc_params.items():
        if kind is GCMEncryption:
            encryption._enc_params[algorithm] = (OneKeyEncryption, cipher)
    for owner, name, function in (
        (SSHConnection, "send_packet", _send_packet),
        (SSHConnection, "data_received", _data_received),
        (SSHChannel, "write", _write),
        (SSHChannel, "_flush_send_buf", _flush_send_buf),
        (SSHPacketLogger, "_log_packet", _log_packet),
        (SSHLogger, "log", _log),
    ):
        setattr(owner, name, function)
    return True


class OneKeyEncryption(GCMEncryption):
    """AES-GCM with one AESGCM object for all packets that a key encrypts, or decrypts.

    asyncssh makes two of these after each key exchange, one for each direction (`Encryption.new`). Its GCMCipher has
    the key and counts the nonces.
    """

    def __init__(self, cipher: GCMCipher) -> None:
        super().__init__(cipher)
        self._aead = AESGCM(cipher._key)

    def encrypt_packet(self, seq: int, header: bytes, packet: bytes) -> tuple[bytes, bytes]:
        """The packet as it is sent, and nothing that has to be appended."""
        sealed = self._aead.encrypt(self._cipher._iv, packet, header)
        self._cipher._update_iv()
        return header + sealed, b""

    def decrypt_header(self, seq: int, first_block: bytes, header_len: int) -> tuple[bytes, bytes]:
        """The first block, which can be part of a view, as bytes; and the header in it, which is not encrypted."""
        block = bytes(first_block)
        return block, block[:header_len]

    def decrypt_packet(
        self, seq: int, first: bytes, rest: bytes, header_len: int, mac: bytes
    ) -> bytes | None:
        """The packet in the clear; None when it is not authentic. `rest` and `mac` can be parts of a view."""
        sealed = b"".join((first[header_len:], rest, mac))
        try:
            return self._aead.decrypt(self._cipher._iv, sealed, first[:header_len])
        except InvalidTag:
            return None
        finally:
            self._cipher._update_iv()


_original_write = SSHChannel.write
_original_flush_send_buf = SSHChannel._flush_send_buf
_original_send_packet = SSHConnection.send_packet
_original_data_received = SSHConnection.data_received
_original_log_packet = SSHPacketLogger._log_packet
_original_log = SSHLogger.log


def _send_packet(
    self: SSHConnection, pkttype: int, *args: bytes, handler: SSHPacketLogger | None = None
) -> None:
    if pkttype == MSG_IGNORE and isinstance(
        self._send_encryption, GCMEncryption | ChachaEncryption
    ):
        return
    _original_send_packet(self, pkttype, *args, handler=handler)


def _write(self: "SSHChannel[Any]", data: Any, datatype: int | None = None) -> None:
    """Send what the window takes of large data from where it is; asyncssh copies the rest into its buffer."""
    binary = not self._encoding and datatype is None
    if binary and len(data) >= _LARGE and self._send_state == "open" and not self._send_buf:
        data = memoryview(data)[_send_full_packets(self, data) :]
    _original_write(self, data, datatype)


def _flush_send_buf(self: "SSHChannel[Any]") -> None:
    """Send the full packets of the data that waits first, then let asyncssh send the rest."""
    data, datatype = self._send_buf[0] if self._send_buf else (bytearray(), None)
    if len(data) >= _LARGE and datatype is None:
        sent = _send_full_packets(self, data)
        del data[:sent]
        self._send_buf_len -= sent
        if not data:
            del self._send_buf[0]
    _original_flush_send_buf(self)


def _send_full_packets(channel: "SSHChannel[Any]", data: bytes | bytearray) -> int:
    """Send the beginning of `data` in packets of the largest size, as many as the window takes; its size in bytes.

    Sends nothing where asyncssh has more to do than to encrypt and send.
    """
    connection, size = channel._conn, channel._send_pktsize
    end = min(len(data), channel._send_window) // size * size
    if connection is None or channel._send_chan is None or not _only_sends(connection, end):
        return 0
    head = _DATA_HEAD.pack(MSG_CHANNEL_DATA, channel._send_chan, size)
    view = memoryview(data)[:end]
    while view:
        packets: list[bytes] = []
        while view and len(packets) < _PACKETS_AT_ONCE:
            packets.append(_encrypted(connection, head, view[:size]))
            view = view[size:]
        connection._send(b"".join(packets))
    channel._send_window -= end
    return end


def _only_sends(connection: SSHConnection, size: int) -> bool:
    """Whether data of that size is encrypted with AES-GCM and sent, and needs no compression, log or key exchange."""
    return (
        type(connection._send_encryption) is OneKeyEncryption
        and connection._auth_complete
        and connection._kex_complete
        and connection._rekey_bytes_sent + size < connection._rekey_bytes
        and not (connection._rekey_seconds and time.monotonic() >= connection._rekey_time)
        and not connection._compressor
        and connection.logger._debug_level < _PACKET_LOG
    )


def _encrypted(connection: SSHConnection, head: bytes, data: memoryview) -> bytes:
    """The packet with `head` and `data` (RFC 4253 §6), by which the connection's counters are advanced."""
    padding = -(connection._send_enchdrlen + len(head) + len(data)) % connection._send_blocksize
    if padding < _LEAST_PADDING:
        padding += connection._send_blocksize
    packet = b"".join((bytes((padding,)), head, data, os.urandom(padding)))
    number, length = connection._send_seq, len(packet)
    encryption = cast(OneKeyEncryption, connection._send_encryption)
    sealed, _ = encryption.encrypt_packet(number, length.to_bytes(4, "big"), packet)
    connection._send_seq = (number + 1) & 0xFFFFFFFF
    connection._rekey_bytes_sent += length
    return sealed


def _data_received(self: SSHConnection, data: bytes, datatype: int | None = None) -> None:
    """Let asyncssh take the packets out of a view of what was received: parts of a view are no copies.

    Not during a key exchange, after which another cipher may follow that cannot use a view.
    """
    exchanging = self._kex is not None or self._next_recv_encryption is not None
    if len(data) < _LARGE or exchanging or type(self._recv_encryption) is not OneKeyEncryption:
        _original_data_received(self, data, datatype)
        return
    self._inpbuf = memoryview(self._inpbuf + data)  # type: ignore[assignment]
    try:
        self._recv_data()
    finally:
        self._inpbuf = bytes(self._inpbuf)


def _log_packet(self: SSHPacketLogger, *args: Any) -> None:
    if self.logger._debug_level >= _PACKET_LOG:
        _original_log_packet(self, *args)


def _log(self: SSHLogger, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
    if self.isEnabledFor(level):
        _original_log(self, level, msg, *args, **kwargs)

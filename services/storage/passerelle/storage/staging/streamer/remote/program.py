"""The job of the staging method `streamer`: one file over one WebSocket, as FirecREST's `streamer` client speaks it.

The sender sends a binary message `{"type": "init", "num_chunks": …, "file_size": …}`, then the file in binary messages,
then `{"type": "eof", "sha256_hash": …}`. A client that sends uses a binary message for the last one. A client that
receives needs a text message for it, which begins exactly with `{"type":"eof"`; it would add a binary one to its file.
(firecrest-streamer 0.0.21, streamer_core.py.) Runs on the system, on Python 3.6 and newer.

Its parameters besides those of all jobs with one file (`remote/one_file.py`): `secret`; `host` (may be null) and
`port_range` to listen on; `wait_timeout` in seconds; `inbound_transfer_limit` in bytes.
"""

import hashlib
import json
import os
from contextlib import contextmanager

from passerelle.storage.remote.outcome import Failure
from passerelle.storage.staging.remote.arriving import ArrivingFile, absent_target
from passerelle.storage.staging.remote.job import log, read_parameters, refusal
from passerelle.storage.staging.remote.one_file import Broken, open_source, run_job
from passerelle.storage.staging.streamer.remote.listener import NoPeer, NoPort, accept_peer, listen
from passerelle.storage.staging.streamer.remote.websocket import (
    BINARY,
    GOING_AWAY,
    INTERNAL_ERROR,
    INVALID_DATA,
    NORMAL,
    TEXT,
    TOO_BIG,
    Closed,
    ProtocolError,
    WebSocket,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO
    from typing import Any

_CHUNK = 5 << 20  # bytes; the client takes messages that are a quarter larger
_MAX_MESSAGE = _CHUNK * 5 // 4
_STALL = 180.0  # seconds without a byte; the client sends a ping every 60


def main() -> None:
    """Send or receive the file that the parameters name, and say how that went."""
    run_job(read_parameters(), _receive, _send, Closed, NoPort, NoPeer, ProtocolError)


def _receive(parameters: "dict[str, Any]") -> None:
    with absent_target(parameters) as target, ArrivingFile(target, parameters["part"]) as arriving:
        size = _receive_file(parameters, arriving)
    log("File was successfully uploaded: %d bytes." % size)  # noqa: UP031


def _receive_file(parameters: "dict[str, Any]", arriving: ArrivingFile) -> int:
    """Receive the file from the peer and place it. The peer is told whether that succeeded. Its size in bytes."""
    with _peer(parameters) as peer:
        size = _receive_size(peer, parameters["inbound_transfer_limit"])
        _receive_content(peer, arriving, size)
        arriving.place()
    return size


def _send(parameters: "dict[str, Any]") -> None:
    with open_source(parameters) as file, _peer(parameters) as peer:
        size = _send_file(peer, file)
    log("File was successfully downloaded: %d bytes." % size)  # noqa: UP031


@contextmanager
def _peer(parameters: "dict[str, Any]") -> "Iterator[WebSocket]":
    """The connection of the peer that has the secret. It is closed with a code that tells how the block ended."""
    listener = listen(parameters["host"], *parameters["port_range"])
    log("Listening on port %d." % listener.getsockname()[1])  # noqa: UP031
    peer = WebSocket(
        accept_peer(listener, parameters["secret"], parameters["wait_timeout"]),
        _MAX_MESSAGE,
        _STALL,
    )
    code, reason = GOING_AWAY, ""
    try:
        log("Connected.")
        yield peer
        code = NORMAL
    except ProtocolError as error:
        code, reason = error.code, str(error)
        raise
    except Failure as error:
        code, reason = INTERNAL_ERROR, refusal(parameters["path"], error)
        raise
    except (Broken, OSError) as error:
        code, reason = INTERNAL_ERROR, str(error)
        raise
    except Closed:
        code = NORMAL
        raise
    finally:
        peer.close(code, reason)


def _receive_size(peer: WebSocket, limit: int) -> int:
    """Receive the size of the file that the peer is going to send, in bytes."""
    size = _record(peer.receive().data, "init").get("file_size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ProtocolError(INVALID_DATA, "`file_size` is not a size")
    if size > limit:
        raise ProtocolError(
            TOO_BIG,
            "Inbound transfer limit exceeded, max allowed transfer size: %d bytes." % limit,  # noqa: UP031
        )
    return size


def _receive_content(peer: WebSocket, arriving: ArrivingFile, size: int) -> None:
    """Receive and write exactly `size` bytes, and compare their SHA-256 with the peer's."""
    digest, remaining = hashlib.sha256(), size
    while remaining:
        message = peer.receive()
        if message.text or len(message.data) > remaining:
            raise ProtocolError(INVALID_DATA, "the content is not as long as announced")
        arriving.write(message.data)
        digest.update(message.data)
        remaining -= len(message.data)
    if _record(peer.receive().data, "eof").get("sha256_hash") != digest.hexdigest():
        raise ProtocolError(INVALID_DATA, "the content has another SHA-256 than announced")


def _record(data: bytes, kind: str) -> "dict[str, Any]":
    try:
        record = json.loads(data.decode())
    except ValueError:
        record = None
    if not isinstance(record, dict) or record.get("type") != kind:
        raise ProtocolError(INVALID_DATA, "there is no `%s` record where one has to be" % kind)  # noqa: UP031
    return record


def _send_file(peer: WebSocket, file: "FileIO") -> int:
    """Send the file, and wait until the peer confirms it by closing the connection; its size in bytes."""
    before = os.fstat(file.fileno())
    size, digest = before.st_size, hashlib.sha256()
    chunks = -(-size // _CHUNK)
    init = {"type": "init", "num_chunks": chunks, "file_size": size}
    peer.send(BINARY, json.dumps(init).encode())
    for number in range(chunks):
        chunk = _read(file, min(_CHUNK, size - number * _CHUNK))
        digest.update(chunk)
        peer.send(BINARY, chunk)
        peer.poll()
    after = os.fstat(file.fileno())
    if (after.st_size, after.st_mtime_ns) != (size, before.st_mtime_ns):
        raise Broken("the file changed while it was sent")
    eof = {"type": "eof", "sha256_hash": digest.hexdigest()}
    peer.send(TEXT, json.dumps(eof, separators=(",", ":")).encode())
    _await_confirmation(peer)
    return size


def _read(file: "FileIO", length: int) -> bytearray:
    chunk = bytearray(length)
    view, done = memoryview(chunk), 0
    while done < length:
        count = file.readinto(view[done:])
        if not count:
            raise Broken("the file became shorter while it was sent")
        done += count
    return chunk


def _await_confirmation(peer: WebSocket) -> None:
    try:
        peer.receive()
    except Closed as closed:
        if closed.code == NORMAL:
            return
        raise
    raise ProtocolError(INVALID_DATA, "the receiver speaks after the end")


if __name__ == "__main__":
    main()

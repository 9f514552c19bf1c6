"""Checksums of files."""

import json
import os
import time

from passerelle.storage.remote.content import open_regular
from passerelle.storage.remote.outcome import Call, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 1 << 20
INTERVAL = 1  # seconds between words about how far it is


def checksum_file(call: Call, path: bytes, algorithm: str) -> "Iterator[bytes]":
    """JSON arrays, one a line: bytes done, bytes in all, and in the last one the checksum in hexadecimal, else ''.

    `algorithm` is one of hashlib's.
    """
    import hashlib  # seldom needed, and slow to load

    fd, size = open_regular(path)
    digest, done, told = hashlib.new(algorithm), 0, time.monotonic()
    try:
        while True:
            call.check()
            block = os.read(fd, BLOCK)
            if not block:
                break
            digest.update(block)
            done += len(block)
            if time.monotonic() - told >= INTERVAL:
                told = time.monotonic()
                yield json.dumps([done, max(done, size), ""]).encode() + b"\n"
    except OSError as error:
        raise Failure("read", path, error.errno or 0) from None
    finally:
        os.close(fd)
    yield json.dumps([done, done, digest.hexdigest()]).encode() + b"\n"

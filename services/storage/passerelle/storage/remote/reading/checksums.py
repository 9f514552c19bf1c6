"""Checksums of files."""

import os

from passerelle.storage.remote.opening import open_regular
from passerelle.storage.remote.outcome import Call, Failure
from passerelle.storage.remote.registry import FOLLOWED, operation

BLOCK = 1 << 20


@operation("checksum", path=FOLLOWED)
def checksum_file(call: Call, path: bytes, algorithm: str) -> bytes:
    """The checksum in lower-case hexadecimal, after reports of progress. `algorithm` is a name of hashlib."""
    import hashlib  # seldom needed, and slow to load

    fd, st = open_regular(call, path)
    call.expect(st.st_size)
    digest = hashlib.new(algorithm)
    try:
        block = os.read(fd, BLOCK)
        while block:
            digest.update(block)
            call.advance(size=len(block))
            block = os.read(fd, BLOCK)
    except OSError as error:
        raise Failure("read", path, error.errno or 0) from None
    finally:
        os.close(fd)
    return call.result(digest.hexdigest())

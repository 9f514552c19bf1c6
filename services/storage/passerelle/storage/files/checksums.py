"""Checksums of files: SHA-256 and MD5 are computed on the system, CRC-32C and XXH3 in this process.

Systems need have no more than Python's standard library, which has only the first two. Tables in Python reach some
5 MB/s. SFTP reads a file at least twenty times as fast, and the libraries here hash gigabytes a second.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from enum import Enum
from typing import Protocol

import google_crc32c
import xxhash

from passerelle.storage.access.system_access import SystemAccess
from passerelle.storage.files.port import Files
from passerelle.storage.values import Progress, Steps, finished

_INTERVAL = 1.0  # seconds between reports of progress


class Algorithm(Enum):
    """A checksum algorithm; the names are those of the contract.

    Those in `_HERE` are computed in this process. The others are computed on the system: by `hashlib`, whose name for
    the algorithm is the value; or without a helper, by coreutils' program of that name and `sum`, such as `sha256sum`.
    """

    SHA256 = "sha256"
    MD5 = "md5"
    CRC32C = "crc32c"
    XXH3 = "xxh3"


class _Digest(Protocol):
    def update(self, data: bytes, /) -> object: ...

    def digest(self) -> bytes: ...


_HERE: Mapping[Algorithm, Callable[[], _Digest]] = {
    Algorithm.CRC32C: google_crc32c.Checksum,
    Algorithm.XXH3: xxhash.xxh3_64,
}


class Checksums:
    """The checksums of one system's files, as the current caller; errors as of `Files`."""

    def __init__(self, access: SystemAccess, files: Files) -> None:
        self._access = access
        self._files = files

    async def sha256(self, path: str) -> str:
        """The SHA-256 in hexadecimal. Raises DeadlineExceeded after the system's time-out for commands."""
        return await self._access.query(
            lambda files: finished(files.checksum(path, Algorithm.SHA256.value))
        )

    async def compute(self, path: str, algorithm: Algorithm) -> Steps[str]:
        """The progress, about once a second; the last one has the checksum in hexadecimal."""
        if algorithm in _HERE:
            steps = self._here(path, _HERE[algorithm]())
        else:
            steps = self._access.stream(lambda files: files.checksum(path, algorithm.value))
        async with aclosing(steps):
            async for step in steps:
                yield step

    async def _here(self, path: str, digest: _Digest) -> Steps[str]:
        reported, done = time.monotonic(), 0
        async with self._files.opened(path) as file, aclosing(file.chunks(0, file.size)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                digest.update(chunk)
                done += len(chunk)
                if time.monotonic() - reported >= _INTERVAL:
                    reported = time.monotonic()
                    yield Progress(0, done, file.size)
        yield Progress(0, done, done, digest.digest().hex(), finished=True)

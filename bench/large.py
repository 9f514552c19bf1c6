"""`python -m bench.large --size 10GiB`: a large file up and down through the gateway, beside bare asyncssh in one run.

Prints speeds, the most memory that each process took (proportional set size), and whether the checksums agree.
"""

import argparse
import hashlib
import os
import pwd
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncssh
import uvloop

from bench import floor
from bench.processes import memory_mib, peaks
from bench.stack import Stack, begin, running_stack

_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SETTINGS = ((-1, -1), (261_120, 12), (261_120, 7))
"""Of asyncssh's `put` and `get`: bytes in a request, requests at once; -1 for its own choice. The best one counts."""


def main() -> None:
    """Measure and print; exits 1 when a byte is wrong."""
    options = _options()
    begin()
    with (
        tempfile.TemporaryDirectory(prefix="passerelle-bench-") as place,
        running_stack(options.cluster) as stack,
        home() as remote,
    ):
        source = Path(place) / "source"
        digest = filled(source, options.size)
        for _ in range(options.repeat):
            bare = uvloop.run(_bare(stack, source, remote))
            ours, memory, right = _ours(stack, source, remote, digest)
            for way in ("up", "down"):
                speed, best = options.size / ours[way] / 1e6, options.size / bare[way] / 1e6
                print(f"{way:5}{speed:8.0f} MB/s   bare {best:8.0f} MB/s   {speed / best:6.0%}")
            print("peaks, MiB:", {name: round(mib) for name, mib in memory.items()}, flush=True)
            if not right:
                sys.exit("The checksums differ.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.large", description=__doc__)
    parser.add_argument("--size", type=_size, default=1 << 30, help="of the file, such as 10GiB")
    parser.add_argument("--repeat", type=int, default=1, help="how often")
    parser.add_argument("--cluster", type=Path, help="directory of a running deploy/cluster")
    return parser.parse_args()


def _size(text: str) -> int:
    return int(text[:-3]) * _UNITS[text[-3:]]


@contextmanager
def home() -> Iterator[Path]:
    """A directory of alice's."""
    path, owner = Path(f"/home/alice/passerelle-bench-{os.getpid()}"), pwd.getpwnam("alice")
    path.mkdir()
    try:
        os.chown(path, owner.pw_uid, owner.pw_gid)
        yield path
    finally:
        shutil.rmtree(path)


def filled(path: Path, size: int) -> str:
    """Fill a file with incompressible data; its SHA-256."""
    block, digest = random.Random(1).randbytes(1 << 24), hashlib.sha256()  # noqa: S311
    with path.open("wb") as file:
        for start in range(0, size, len(block)):
            piece = start.to_bytes(8, "big") + block[8:]
            digest.update(piece[: size - start])
            file.write(piece[: size - start])
    return digest.hexdigest()


async def _bare(stack: Stack, source: Path, remote: Path) -> dict[str, float]:
    """The seconds that the best settings take."""
    best = {"up": float("inf"), "down": float("inf")}
    there, back = str(remote / "bare"), str(source.with_name("bare"))
    async with floor.connected_to(stack.cluster) as connection:
        sftp: asyncssh.SFTPClient
        async with connection.start_sftp_client() as sftp:
            for block, at_once in _SETTINGS:
                start = time.perf_counter()
                await sftp.put(str(source), there, block_size=block, max_requests=at_once)
                middle = time.perf_counter()
                await sftp.get(there, back, block_size=block, max_requests=at_once)
                best["up"] = min(best["up"], middle - start)
                best["down"] = min(best["down"], time.perf_counter() - middle)
    os.unlink(there)
    os.unlink(back)
    return best


def _ours(
    stack: Stack, source: Path, remote: Path, digest: str
) -> tuple[dict[str, float], dict[str, float], bool]:
    """Seconds by way, the peaks of memory by process, and whether every byte is right."""
    got = source.with_name("got")
    with peaks(lambda: memory_mib(stack.pid)) as most:
        start = time.perf_counter()
        upload(stack, source, remote / "ours", digest)
        middle = time.perf_counter()
        download(stack, remote / "ours", got)
        seconds = {"up": middle - start, "down": time.perf_counter() - middle}
    right = all(_digest(path) == digest for path in (got, remote / "ours"))
    got.unlink()
    return seconds, most, right


def upload(stack: Stack, source: Path, remote: Path, digest: str) -> None:
    """Write a file of alice's through the gateway, which checks its SHA-256; raises when it does not."""
    query = f"?path={remote}&sha256={digest}"
    _curl(stack, query, "--upload-file", source, "--output", "/dev/null")


def download(stack: Stack, remote: Path, target: Path) -> None:
    """Read a file of alice's through the gateway; raises when that fails."""
    _curl(stack, f"?path={remote}", "--output", target)


def _curl(stack: Stack, query: str, *options: str | Path) -> None:
    token = ("--header", f"Authorization: Bearer {stack.token()}")
    url = f"{stack.base_url}/v1/systems/cluster/files:content{query}"
    subprocess.run(("curl", "--silent", "--fail", *token, *options, url), check=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()

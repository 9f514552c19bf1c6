"""`python -m bench.large --size 10GiB`: a large file up and down through the gateway, beside bare asyncssh in one run.

Prints speeds, the CPU time and the most memory (proportional set size) that each process took, and whether the
checksums agree. Where the CPU time of all together is more than the processors have, no arrangement of them is faster.
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
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import uvloop

from bench import floor
from bench.processes import cpu_seconds, memory_mib, peaks, spent
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
                speed, best = (options.size / copy[way].seconds / 1e6 for copy in (ours, bare))
                print(f"{way:5}{speed:8.0f} MB/s   bare {best:8.0f} MB/s   {speed / best:6.0%}")
                for name, copy in (("ours", ours), ("bare", bare)):
                    print(f"     CPU, s: {name} {_listed(copy[way].cpu)}")
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


@dataclass(frozen=True)
class Copy:
    """What one copy took: seconds on the clock, and of CPU time, by process; `client` is what asked for it."""

    seconds: float
    cpu: dict[str, float]


def _listed(cpu: dict[str, float]) -> str:
    parts = [f"{name} {seconds:.1f}" for name, seconds in sorted(cpu.items()) if seconds >= 0.05]
    return f"{sum(cpu.values()):.1f} ({', '.join(parts)})"


@contextmanager
def _measured(stack: Stack, results: list[Copy]) -> Iterator[None]:
    """Append what the block takes, with the time of this program, of what it runs, and of sshd and what that runs."""
    sshd = int((stack.cluster.directory / "ssh" / "sshd.pid").read_text())

    def cpu() -> dict[str, float]:
        own = os.times()
        client = own.user + own.system + own.children_user + own.children_system
        return {**cpu_seconds(stack.pid, sshd), "client": client}

    before, start = cpu(), time.perf_counter()
    yield
    results.append(Copy(time.perf_counter() - start, spent(before, cpu())))


async def _bare(stack: Stack, source: Path, remote: Path) -> dict[str, Copy]:
    """What the best settings take."""
    up, down = list[Copy](), list[Copy]()
    there, back = str(remote / "bare"), str(source.with_name("bare"))
    async with floor.connected_to(stack.cluster) as connection:
        sftp: asyncssh.SFTPClient
        async with connection.start_sftp_client() as sftp:
            for block, at_once in _SETTINGS:
                with _measured(stack, up):
                    await sftp.put(str(source), there, block_size=block, max_requests=at_once)
                with _measured(stack, down):
                    await sftp.get(there, back, block_size=block, max_requests=at_once)
    os.unlink(there)
    os.unlink(back)
    return {
        way: min(copies, key=lambda copy: copy.seconds)
        for way, copies in (("up", up), ("down", down))
    }


def _ours(
    stack: Stack, source: Path, remote: Path, digest: str
) -> tuple[dict[str, Copy], dict[str, float], bool]:
    """What it took by way, the peaks of memory by process, and whether every byte is right."""
    got, copies = source.with_name("got"), list[Copy]()
    with peaks(lambda: memory_mib(stack.pid)) as most:
        with _measured(stack, copies):
            upload(stack, source, remote / "ours", digest)
        with _measured(stack, copies):
            download(stack, remote / "ours", got)
    right = all(_digest(path) == digest for path in (got, remote / "ours"))
    got.unlink()
    return dict(zip(("up", "down"), copies, strict=True)), most, right


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

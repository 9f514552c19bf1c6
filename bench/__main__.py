"""`python -m bench`: what the gateway costs on top of bare asyncssh on the same server, in the same run.

Absolute times depend on the machine and on what else it does; compare columns of one run only.
"""

import argparse
import asyncio
import json
import os
import pwd
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import asyncssh

from bench import floor
from bench.http import Measured, Request, load, request
from bench.stack import Stack, resident_mib, running_stack, submit_job

HOME = "/home/alice"
MIB = bytes(1 << 20)
BOUNDARY = "bench7MA4YWxkTrZu0gW"


def main() -> None:
    """Measure and print; exits 1 when a call failed."""
    options = _options()
    if os.geteuid() != 0:
        sys.exit("The bench starts a real sshd and Slurm, for which it has to be root on Debian.")
    with running_stack(options.cluster) as stack, _files():
        results = asyncio.run(_measured(stack, options))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    if any(row["errors"] for row in results):
        sys.exit("Some calls failed; see the last column.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each measurement")
    parser.add_argument("--clients", default="1,16,64", help="numbers of concurrent clients")
    parser.add_argument("--only", default="", help="cases to run, separated by commas")
    parser.add_argument("--cluster", type=Path, help="directory of a running deploy/cluster")
    parser.add_argument(
        "--rival",
        help="base URL of a FirecREST v2 before the same cluster, to measure in the same run; "
        "alice's token for it in the environment variable RIVAL_TOKEN",
    )
    parser.add_argument("--json", type=Path, help="also write the results there")
    return parser.parse_args()


@contextmanager
def _files() -> Iterator[None]:
    """What the cases read and write, in alice's home."""
    home, owner = Path(HOME), pwd.getpwnam("alice")
    made = [home / "ls20", home / "ls2000", home / "upl"]
    for folder, entries in zip(made, (20, 2000, 0), strict=True):
        folder.mkdir(exist_ok=True)
        for number in range(entries):
            (folder / f"file_{number:04}.dat").touch()
    (home / "one_mib.bin").write_bytes(MIB)
    for path in (*made, home / "one_mib.bin"):
        os.chown(path, owner.pw_uid, owner.pw_gid)
    yield


def _cases(token: str, job: str) -> dict[str, Request]:
    files, jobs = "/filesystem/cluster/ops", "/compute/cluster/jobs"

    def get(path: str) -> Request:
        return request("GET", path, token)

    return {
        "liveness": get("/status/liveness/"),
        "systems": get("/status/systems"),
        "stat": get(f"{files}/stat?path={HOME}/one_mib.bin"),
        "ls20": get(f"{files}/ls?path={HOME}/ls20"),
        "ls2000": get(f"{files}/ls?path={HOME}/ls2000"),
        "download1MiB": get(f"{files}/download?path={HOME}/one_mib.bin"),
        "upload1MiB": _upload(token),
        "job": get(f"{jobs}/{job}"),
        "jobs": get(jobs),
        "nodes": get("/status/cluster/nodes"),
        "userinfo": get("/status/cluster/userinfo"),
    }


def _upload(token: str) -> Request:
    def make(number: int) -> bytes:
        head = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; '
            f'filename="u{number % 64}.bin"\r\nContent-Type: application/octet-stream\r\n\r\n'
        )
        body = head.encode() + MIB + f"\r\n--{BOUNDARY}--\r\n".encode()
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        path = f"/filesystem/cluster/ops/upload?path={HOME}/upl"
        return request("POST", path, token, body, kind)(number)

    return make


async def _measured(stack: Stack, options: argparse.Namespace) -> list[dict[str, Any]]:
    job = submit_job(stack)
    wanted = [name for name in options.only.split(",") if name]
    clients = [int(number) for number in options.clients.split(",")]
    results = []
    print(f"idle: {resident_mib(stack.pid):.0f} MiB in all processes of the gateway")
    print(
        f"{'case':13}{'clients':>8}{'floor p50':>11}{'p50 ms':>9}{'p99 ms':>9}{'above':>8}{'calls/s':>9}"
        f"{'rival p50':>11}{'rival/s':>9}  errors"
    )
    async with AsyncExitStack() as opened:
        bare = await _bare(opened, stack, job)
        rival = _cases(os.environ["RIVAL_TOKEN"], job) if options.rival else {}
        for name, make in _cases(stack.token, job).items():
            if wanted and name not in wanted:
                continue
            lowest = (
                await floor.measure(bare[name], seconds=options.seconds) if name in bare else None
            )
            for number in clients:
                run = await load(stack.base_url, make, clients=number, seconds=options.seconds)
                other = None
                if rival:
                    how = {"clients": number, "seconds": options.seconds}
                    other = await load(options.rival, rival[name], **how)
                results.append(_row(name, number, lowest, run, other))
    print(f"after: {resident_mib(stack.pid):.0f} MiB")
    return results


async def _bare(opened: AsyncExitStack, stack: Stack, job: str) -> dict[str, floor.Operation]:
    connection = await opened.enter_async_context(floor.connected_to(stack.cluster))
    sftp: asyncssh.SFTPClient = await opened.enter_async_context(connection.start_sftp_client())
    return floor.operations(connection, sftp, HOME, job)


def _row(
    name: str, clients: int, lowest: Measured | None, run: Measured, other: Measured | None
) -> dict[str, Any]:
    base = lowest.quantile(0.5) if lowest else None
    above = run.quantile(0.5) - base if base is not None and clients == 1 else None
    print(
        f"{name:13}{clients:8}{_ms(base):>11}{run.quantile(0.5):9.1f}{run.quantile(0.99):9.1f}"
        f"{_ms(above):>8}{run.rate:9.0f}{_told(other)}  {run.errors or ''}",
        flush=True,
    )
    return {
        "case": name,
        "clients": clients,
        "floor_p50_ms": base,
        "p50_ms": run.quantile(0.5),
        "p99_ms": run.quantile(0.99),
        "calls_per_second": run.rate,
        "errors": run.errors,
        "rival_p50_ms": other.quantile(0.5) if other else None,
        "rival_calls_per_second": other.rate if other else None,
        "rival_errors": other.errors if other else None,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _told(other: Measured | None) -> str:
    if other is None:
        return f"{'':20}"
    failed = f" rival: {other.errors}" if other.errors else ""
    return f"{other.quantile(0.5):11.1f}{other.rate:9.0f}{failed}"


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()

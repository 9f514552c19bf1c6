"""The floor: what bare asyncssh does on the same server, with the connection already open and nothing in between."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncssh

from bench.http import Measured
from tests.cluster import Cluster

Operation = Callable[[], Awaitable[object]]


@asynccontextmanager
async def connected(
    *, host: str, port: int, user: str, key: str, known_hosts: str
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """An open connection with the cipher that the gateway uses too; `key` is a private key file with a certificate."""
    async with asyncssh.connect(
        host,
        port,
        username=user,
        client_keys=[key],
        known_hosts=known_hosts,
        config=None,
        agent_path=None,
        encryption_algs=["aes128-gcm@openssh.com"],
    ) as connection:
        yield connection


def connected_to(
    cluster: Cluster,
) -> AbstractAsyncContextManager[asyncssh.SSHClientConnection]:
    """An open connection to a deploy/cluster, as alice."""
    return connected(
        host=cluster.host,
        port=cluster.ssh_port,
        user="alice",
        key=str(cluster.directory / "ssh" / "alice"),
        known_hosts=str(cluster.known_hosts),
    )


def operations(
    connection: asyncssh.SSHClientConnection, sftp: asyncssh.SFTPClient, home: str, job: str
) -> dict[str, Operation]:
    """The cheapest way bare asyncssh has for each measured call."""

    async def read() -> object:
        async with sftp.open(f"{home}/one_mib.bin", "rb") as file:
            return await file.read()

    async def write() -> object:
        async with sftp.open(f"{home}/upl/floor.bin", "wb") as file:
            return await file.write(bytes(1 << 20))

    async def run(command: str) -> object:
        return await connection.run(command, check=True)

    return {
        "stat": lambda: sftp.stat(f"{home}/one_mib.bin"),
        "ls20": lambda: sftp.readdir(f"{home}/ls20"),
        "ls2000": lambda: sftp.readdir(f"{home}/ls2000"),
        "download1MiB": read,
        "upload1MiB": write,
        **({"job": lambda: run(f"scontrol show job {job}")} if job else {}),
        **({"jobs": lambda: run("squeue -h --me")} if job else {}),
        **({"nodes": lambda: run("sinfo -h -N")} if job else {}),
        "userinfo": lambda: run("id"),
    }


async def measure(operation: Operation, *, seconds: float) -> Measured:
    """Call it one at a time for `seconds`."""
    measured = Measured()
    await operation()
    start = time.perf_counter()
    while (begin := time.perf_counter()) - start < seconds:
        await operation()
        measured.latencies.append(time.perf_counter() - begin)
        measured.outcomes["200"] += 1
    measured.seconds = time.perf_counter() - start
    measured.latencies.sort()
    return measured

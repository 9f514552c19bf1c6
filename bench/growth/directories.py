"""Entries of a directory, beside bare SFTP on the same server."""

import os
import pwd
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import asyncssh
import httpx

from bench.floor import connected_to
from bench.growth.costs import Calls, got, http_client, print_table
from bench.stack import Stack

_SIZES = (10, 100, 1_000, 10_000, 100_000)
_DIRECTORY = Path("/home/alice/passerelle-bench-growth")


async def measure(stack: Stack, repeat: int) -> None:
    """Print the table."""
    async with AsyncExitStack() as opened:
        connection = await opened.enter_async_context(connected_to(stack.cluster))
        sftp = await opened.enter_async_context(connection.start_sftp_client())
        client = await opened.enter_async_context(http_client(stack))
        await print_table(stack, repeat, _SIZES, partial(_prepared, _calls(sftp, client)))


def _calls(sftp: asyncssh.SFTPClient, client: httpx.AsyncClient) -> Calls:
    path, native = str(_DIRECTORY), "/v1/systems/cluster/files"

    async def first() -> None:
        async with client.stream("GET", f"{native}:walk", params={"path": path}) as reply:
            reply.raise_for_status()
            await anext(reply.aiter_raw())

    async def all_pages() -> None:
        token = ""
        while True:
            reply = await got(client, native, path=path, pageSize=10_000, pageToken=token)
            if not (token := reply.json().get("nextPageToken", "")):
                return

    return {
        "sftp readdir": lambda: sftp.readdir(path),
        "profile ls": lambda: got(client, "/filesystem/cluster/ops/ls", path=path),
        "native, all pages": all_pages,
        "page of 100": lambda: got(client, native, path=path, pageSize=100),
        "walk: first": first,
        "walk: all": lambda: got(client, f"{native}:walk", path=path),
    }


@asynccontextmanager
async def _prepared(calls: Calls, size: int) -> AsyncIterator[Calls]:
    with _entries(size):
        yield calls


@contextmanager
def _entries(count: int) -> Iterator[None]:
    """A directory with so many empty files, alice's."""
    owner = pwd.getpwnam("alice")
    _DIRECTORY.mkdir()
    try:
        for number in range(count):
            (_DIRECTORY / f"file_{number:06}.dat").touch()
        os.chown(_DIRECTORY, owner.pw_uid, owner.pw_gid)
        yield
    finally:
        shutil.rmtree(_DIRECTORY)

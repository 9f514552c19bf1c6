"""The operations that are measured: as a request of the FirecREST v2 API, and as the least that asyncssh can do."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from bench.accounts import JOB_NAME, MIB, Account
from bench.floor import Login
from bench.http import Request, packed

_BOUNDARY = "bench7MA4YWxkTrZu0gW"
_SCRIPT = f"#!/bin/sh\n#SBATCH --hold\n#SBATCH --job-name={JOB_NAME}\n#SBATCH --time=1\ntrue\n"
"""Held, so that jobs that were submitted do not run while the next calls are measured."""


@dataclass(frozen=True)
class Target:
    """A server with the FirecREST v2 API, as one user calls it."""

    account: Account
    token: str
    prefix: str
    """Of all paths."""
    system: str
    """The name that the server has for the cluster."""

    def get(self, path: str) -> bytes:
        """A request without a body."""
        return packed("GET", self.prefix + path, self.token)

    def post(self, path: str, body: bytes, content_type: str) -> bytes:
        """A request with one."""
        return packed("POST", self.prefix + path, self.token, body, content_type)


@dataclass(frozen=True)
class Operation:
    """One operation: its request, which is made for the n-th call of a user, and the same by bare asyncssh.

    `bare` is None for what asks no system.
    """

    name: str
    request: Callable[[Target, int], bytes]
    bare: Callable[[Login, Account, int], Awaitable[object]] | None
    in_mean: bool = True
    """Whether the geometric mean has it."""
    numbered: bool = False
    """Whether calls of one user that are under way together have requests that differ."""

    def requests(self, targets: Sequence[Target], clients: int) -> Request:
        """The requests of so many clients, of these users in turn."""
        if not self.numbered:
            fixed = [self.request(target, 0) for target in targets]
            return lambda number: fixed[number % len(targets)]
        of_each_user = -(-clients // len(targets))

        def make(number: int) -> bytes:
            turn, user = divmod(number, len(targets))
            return self.request(targets[user], turn % of_each_user)

        return make


def _filesystem(operation: str, name: str) -> Callable[[Target, int], bytes]:
    def request(target: Target, _: int) -> bytes:
        path = target.account.folder / name
        return target.get(f"/filesystem/{target.system}/ops/{operation}?path={path}")

    return request


def _upload(target: Target, number: int) -> bytes:
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{number}.bin"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode() + MIB + f"\r\n--{_BOUNDARY}--\r\n".encode()
    path = f"/filesystem/{target.system}/ops/upload?path={target.account.folder}/uploads"
    return target.post(path, body, f"multipart/form-data; boundary={_BOUNDARY}")


def _submit(target: Target, _: int) -> bytes:
    job = {
        "name": JOB_NAME,
        "workingDirectory": str(target.account.folder),
        "script": _SCRIPT,
        "standardOutput": "/dev/null",
    }
    body = json.dumps({"job": job}).encode()
    return target.post(f"/compute/{target.system}/jobs", body, "application/json")


async def _bare_read(login: Login, account: Account, _: int) -> object:
    async with login.sftp.open(f"{account.folder}/one_mib.bin", "rb") as file:
        return await file.read()


async def _bare_write(login: Login, account: Account, number: int) -> object:
    async with login.sftp.open(f"{account.folder}/uploads/bare{number % 512}.bin", "wb") as file:
        return await file.write(MIB)


OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("systems", lambda target, _: target.get("/status/systems"), None),
        Operation(
            "stat",
            _filesystem("stat", "one_mib.bin"),
            lambda login, account, _: login.sftp.stat(f"{account.folder}/one_mib.bin"),
        ),
        Operation(
            "ls20",
            _filesystem("ls", "ls20"),
            lambda login, account, _: login.sftp.readdir(f"{account.folder}/ls20"),
        ),
        Operation(
            "ls2000",
            _filesystem("ls", "ls2000"),
            lambda login, account, _: login.sftp.readdir(f"{account.folder}/ls2000"),
        ),
        Operation("download1MiB", _filesystem("download", "one_mib.bin"), _bare_read),
        Operation("upload1MiB", _upload, _bare_write, numbered=True),
        Operation(
            "job",
            lambda target, _: target.get(f"/compute/{target.system}/jobs/{target.account.job}"),
            lambda login, account, _: login.run(f"sacct -P -j {account.job}"),
        ),
        Operation(
            "jobs",
            lambda target, _: target.get(f"/compute/{target.system}/jobs"),
            lambda login, account, _: login.run("sacct -P"),
        ),
        Operation(
            "nodes",
            lambda target, _: target.get(f"/status/{target.system}/nodes"),
            lambda login, account, _: login.run("sinfo -h -N"),
        ),
        Operation(
            "userinfo",
            lambda target, _: target.get(f"/status/{target.system}/userinfo"),
            lambda login, account, _: login.run("id"),
        ),
        Operation(
            "submit", _submit, lambda login, account, _: login.run("sbatch", _SCRIPT), in_mean=False
        ),
    )
}
"""By their names, in the order in which they are shown."""

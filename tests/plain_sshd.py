"""An SSH server of asyncssh as it is installed: it lets everybody in, sends back what it receives, and has SFTP.

A process of its own (`python -m tests.plain_sshd '{"rekey_bytes": 100000}'`, options of asyncssh.listen), because
what the SSH pool changes in asyncssh would be changed in its server as well. It ends with its input.
"""

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE, Popen
from typing import Any

import asyncssh

READ = 1 << 16


class _Login(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False  # nothing has to be proved


async def _echo(process: "asyncssh.SSHServerProcess[bytes]") -> None:
    while data := await process.stdin.read(READ):
        process.stdout.write(data)
        await process.stdout.drain()
    process.exit(0)


async def _main() -> None:
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=_Login,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=_echo,
        sftp_factory=True,
        encoding=None,
        **json.loads(sys.argv[1]),
    )
    print(server.get_port(), flush=True)
    await asyncio.to_thread(sys.stdin.read)


@contextmanager
def running_plain_sshd(**options: Any) -> Iterator[int]:
    """The port of such a server, set by `options` of asyncssh.listen that are JSON."""
    command = (sys.executable, "-m", "tests.plain_sshd", json.dumps(options))
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.communicate(timeout=10)


if __name__ == "__main__":
    asyncio.run(_main())

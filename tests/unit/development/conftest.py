"""The development SSH server on a free port, with a certificate authority of the test's own."""

import os
import pwd
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from passerelle.development.config import DevelopmentSshd
from passerelle.development.sshd import serving_ssh

ME = pwd.getpwuid(os.getuid()).pw_name


@dataclass
class Door:
    """How to reach the server, and the authority it trusts."""

    port: int
    host_key_file: Path
    authority: asyncssh.SSHKey
    key: asyncssh.SSHKey = field(
        default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519")
    )

    def certificate(self, principals: tuple[str, ...], **options: Any) -> Any:
        """A certificate for `key`, of the trusted authority unless `authority` is given."""
        authority = options.pop("authority", self.authority)
        times = {"valid_after": 0, "valid_before": int(time.time()) + 300}
        return authority.generate_user_certificate(
            self.key, "test", principals=principals, **(times | options)
        )

    def connect(
        self, identity: Any = None, username: str = ME
    ) -> AbstractAsyncContextManager[asyncssh.SSHClientConnection]:
        """A connection; by default with a certificate that is right."""
        host_key = asyncssh.read_private_key(self.host_key_file).export_public_key().decode()
        return asyncssh.connect(
            "127.0.0.1",
            self.port,
            username=username,
            client_keys=[identity or (self.key, self.certificate((ME,)))],
            known_hosts=asyncssh.import_known_hosts(f"* {host_key}"),
            config=None,
            agent_path=None,
        )


@asynccontextmanager
async def open_door(directory: Path) -> AsyncIterator[Door]:
    """A server with its keys in `directory`, and a new authority."""
    authority = asyncssh.generate_private_key("ssh-ed25519")
    settings = DevelopmentSshd(
        listen="127.0.0.1:0",
        host_key_file=directory / "keys" / "host_key",
        user_ca=authority.export_public_key().decode(),
    )
    async with serving_ssh(settings) as port:
        yield Door(port, settings.host_key_file, authority)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path) as door:
        yield door

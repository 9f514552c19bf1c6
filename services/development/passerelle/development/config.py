"""The `development` section of the configuration file. Without it, nothing of this package runs."""

import asyncio
import os
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from passerelle.runtime.config.findings import Finding, SectionContext, problem, unreadable
from passerelle.runtime.config.host_keys import PublicKey
from passerelle.runtime.config.sections import Secret, Section
from passerelle.runtime.config.trials import Failed, Trial


def _loopback(listen: str) -> str:
    host, _, port = listen.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host  # whatever a resolver makes of the name
    try:
        loopback = ip_address(host.strip("[]")).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ValueError("development servers listen on loopback only, such as 127.0.0.1:8001")
    if not (port.isdecimal() and int(port) < 65536):
        raise ValueError("it must end in :port")
    return f"{host}:{port}"


LoopbackAddress = Annotated[str, AfterValidator(_loopback)]
"""host:port where host is a loopback address or `localhost`; anything else is refused."""


ISSUER_KEY, HOST_KEY = "ssh-rsa", "ssh-ed25519"
"""The algorithms of the keys that are made when absent."""


def _key_findings(path: Path, algorithm: str, key: str) -> Iterator[Finding]:
    # Imported here: processes that only read a configuration need no asyncssh.
    from passerelle.development.keys import read_key
    from passerelle.runtime.config.site import ConfigError

    if not path.exists():
        return
    if reason := unreadable(path):
        yield problem(reason, key)
        return
    try:
        read_key(path, algorithm)
    except ConfigError as error:
        yield problem(str(error), key)


class Client(Section):
    """An OAuth client of the development issuer; its tokens are for one account."""

    id: str = Field(min_length=1)
    """The client's id."""
    secret: Secret
    """The client's secret."""
    username: str
    """The account its tokens stand for (`preferred_username`)."""
    scopes: tuple[str, ...] = ()
    """What its tokens may do; a token request can ask for fewer."""


class DevelopmentIssuer(Section):
    """An identity provider for trying things out."""

    listen: LoopbackAddress
    """host:port; only loopback is accepted."""
    key_file: Path
    """Where its signing key is kept; made when absent."""
    clients: tuple[Client, ...] = ()
    """Its OAuth clients."""
    audience: str = "passerelle"
    """The `aud` of its tokens."""
    token_life: int = Field(default=3600, ge=60)
    """Life of a token, s."""

    def findings(self, context: SectionContext) -> Iterator[Finding]:
        """See `Section.findings`."""
        yield from _key_findings(self.key_file, ISSUER_KEY, "key_file")

    def trials(self, context: SectionContext) -> Iterator[Trial]:
        """See `Section.trials`."""

        async def listens() -> str:
            host, _, port = self.listen.rpartition(":")
            try:
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            except OSError as error:
                raise Failed(f"nothing listens: {os.strerror(error.errno or 0)}") from None
            writer.close()
            return "listens"

        hint = "it runs in `passerelle up` alone: start that, and try from a second terminal"
        yield Trial(f"development issuer {self.listen}", listens, hint)


class DevelopmentSshd(Section):
    """An SSH server for the current user, for trying things out."""

    listen: LoopbackAddress
    """host:port; only loopback is accepted."""
    host_key_file: Path
    """Where its host key is kept; made when absent."""
    user_ca: PublicKey
    """Public key of the certificate authority whose user certificates it accepts."""

    def findings(self, context: SectionContext) -> Iterator[Finding]:
        """See `Section.findings`."""
        yield from _key_findings(self.host_key_file, HOST_KEY, "host_key_file")


class DevelopmentSection(Section):
    """What the embedded default adds to a machine that has no identity provider and no system."""

    issuer: DevelopmentIssuer | None = None
    sshd: DevelopmentSshd | None = None

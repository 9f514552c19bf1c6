"""Puts the development servers together. One process for both saves memory."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from passerelle.development.config import DevelopmentSection
from passerelle.development.issuer import serving_issuer
from passerelle.runtime.config.site import ConfigError, SiteBase, section


@asynccontextmanager
async def running(site: SiteBase) -> AsyncIterator[int]:
    """The configured development servers, inside the block; yields the issuer's port, or else the SSH server's.

    Raises ConfigError when neither is configured.
    """
    settings = section(site, DevelopmentSection)
    async with AsyncExitStack() as stack:
        ports = []
        if settings.issuer is not None:
            ports.append(await stack.enter_async_context(serving_issuer(settings.issuer)))
        if settings.sshd is not None:
            from passerelle.development.sshd import serving_ssh  # asyncssh: 10 MB for an issuer

            ports.append(await stack.enter_async_context(serving_ssh(settings.sshd)))
        if not ports:
            raise ConfigError("development: neither issuer nor sshd is configured")
        yield ports[0]

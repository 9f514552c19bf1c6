"""Waits until a started site answers, and knows by which URL this machine reaches it."""

import asyncio
import http.client
import ssl
import urllib.parse
from pathlib import Path

_PAUSE = 0.05  # seconds between two attempts


async def wait_until_answering(url: str, certificate: Path | None) -> None:
    """Return when a request through Envoy, and the service behind it, succeeds.

    `certificate` is the one that Envoy shows when `url` is https.
    """
    while not await asyncio.to_thread(_is_live, url, certificate):  # noqa: ASYNC110  # there is no event
        await asyncio.sleep(_PAUSE)


def _is_live(url: str, certificate: Path | None) -> bool:
    # http.client and not urllib.request: a proxy named in the environment must not be asked for loopback addresses.
    host = urllib.parse.urlsplit(url).netloc
    connection = (
        http.client.HTTPSConnection(host, timeout=2, context=_pinned(certificate))
        if certificate
        else http.client.HTTPConnection(host, timeout=2)
    )
    try:
        connection.request("GET", "/status/liveness/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _pinned(certificate: Path) -> ssl.SSLContext:
    """Trusts exactly this certificate, whatever name it is for: we reach the gateway by its address."""
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def public_url(listen: str, *, tls: bool) -> str:
    """The URL by which this machine reaches a gateway that listens on `listen` (host:port)."""
    host, _, port = listen.rpartition(":")
    if host in ("0.0.0.0", "", "*"):  # noqa: S104  # compared with, not bound
        host = "127.0.0.1"
    if host == "[::]":
        host = "[::1]"
    return f"{'https' if tls else 'http'}://{host}:{port}"

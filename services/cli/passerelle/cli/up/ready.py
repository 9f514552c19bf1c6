"""Finding out when a started site works."""

import asyncio
import http.client
import ssl
import urllib.parse
from pathlib import Path

_PAUSE = 0.05  # seconds between two attempts


async def answering(url: str, certificate: Path | None) -> None:
    """Return when a request through Envoy, and the service behind it, succeeds.

    `certificate` is the one that Envoy shows when `url` is https.
    """
    while not await asyncio.to_thread(_is_live, url, certificate):  # noqa: ASYNC110  # no event tells
        await asyncio.sleep(_PAUSE)


def _is_live(url: str, certificate: Path | None) -> bool:
    # http.client and not urllib.request: a proxy named in the environment must not see loopback addresses.
    place = urllib.parse.urlsplit(url).netloc
    connection = (
        http.client.HTTPSConnection(place, timeout=2, context=_trusting(certificate))
        if certificate
        else http.client.HTTPConnection(place, timeout=2)
    )
    try:
        connection.request("GET", "/status/liveness/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _trusting(certificate: Path) -> ssl.SSLContext:
    """Accepts exactly our own certificate, whatever its name: we reach it by its address."""
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

"""Finding out when a started site works, and what to tell the person who started it."""

import asyncio
import http.client
import shlex
import sys
import urllib.parse
from collections.abc import Sequence

_PAUSE = 0.05  # seconds between two attempts


async def accepting(address: str) -> None:
    """Return when `address` (host:port) accepts connections."""
    host, _, port = address.rpartition(":")
    while True:
        try:
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except OSError:
            await asyncio.sleep(_PAUSE)
        else:
            writer.close()
            return


async def answering(url: str) -> None:
    """Return when a request through Envoy, and the service behind it, succeeds."""
    while not await asyncio.to_thread(_is_live, url):  # noqa: ASYNC110  # nothing here could set an event
        await asyncio.sleep(_PAUSE)


def _is_live(url: str) -> bool:
    # http.client and not urllib.request: a proxy named in the environment must not see loopback addresses.
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=2)
    try:
        connection.request("GET", "/status/liveness/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def public_url(listen: str) -> str:
    """The URL by which this machine reaches a gateway that listens on `listen` (host:port)."""
    host, _, port = listen.rpartition(":")
    if host in ("0.0.0.0", "", "*"):  # noqa: S104  # compared with, not bound
        host = "127.0.0.1"
    if host == "[::]":
        host = "[::1]"
    return f"http://{host}:{port}"


def lines_to_copy(url: str, token: str | None) -> Sequence[str]:
    """Three lines for a shell: a token, a curl, and pyfirecrest."""
    snippet = (
        "import os, firecrest; "
        'auth = type("Auth", (), {"get_access_token": lambda self: os.environ["TOKEN"]})(); '
        f'print(firecrest.v2.Firecrest(firecrest_url="{url}", authorization=auth).systems())'
    )
    return (
        f"export TOKEN={token or '...an access token of your identity provider...'}",
        f'curl -H "Authorization: Bearer $TOKEN" {url}/status/systems',
        f"{shlex.quote(sys.executable)} -c {shlex.quote(snippet)}",
    )

"""Lines for a shell that show the person who started a site that it works."""

import shlex
import socket
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

_SECONDS = 2.0


def lines_to_copy(url: str, token: str | None, certificate: Path | None) -> Sequence[str]:
    """A token, a curl, and pyfirecrest, for the gateway that this machine reaches by `url`.

    `certificate` is what it shows when that is https: the lines call it by a name that the certificate is for, and
    trust it by its file where clients do not anyway.
    """
    trust = None
    if certificate:
        url, trust = _as_clients_call(url, certificate)
    file = shlex.quote(str(trust))
    cacert, environment = (f"--cacert {file} ", f"SSL_CERT_FILE={file} ") if trust else ("", "")
    snippet = (
        "import os, firecrest; "
        'auth = type("Auth", (), {"get_access_token": lambda self: os.environ["TOKEN"]})(); '
        f'print(firecrest.v2.Firecrest(firecrest_url="{url}", authorization=auth).systems())'
    )
    return (
        f"export TOKEN={token or '...an access token of your identity provider...'}",
        f'curl {cacert}-H "Authorization: Bearer $TOKEN" {url}/status/systems',
        f"{environment}{shlex.quote(sys.executable)} -c {shlex.quote(snippet)}",
    )


def _as_clients_call(url: str, certificate: Path) -> tuple[str, Path | None]:
    """The URL with a name that the certificate is for; and its file, unless clients trust it as it is."""
    from passerelle.gateway import tls_files  # with a library that a plain site does without

    host, port = str(urlsplit(url).hostname), urlsplit(url).port
    names = tls_files.names(certificate)
    plain = [name for name in names if not name.startswith("*")]
    name = host if host in names or not plain else plain[0]
    shown = f"[{name}]" if ":" in name else name
    trusted = _is_trusted((host, port or 443), name)
    return f"https://{shown}:{port}", None if trusted else certificate


def _is_trusted(place: tuple[str, int], name: str) -> bool:
    """Whether a client of this machine takes the certificate that is shown there for one of `name`."""
    context = ssl.create_default_context()
    try:
        with (
            socket.create_connection(place, _SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=name),
        ):
            return True
    except OSError:
        return False

"""Shell commands, for the operator to copy, that show that a started site works."""

import shlex
import socket
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

_CONNECT_SECONDS = 2.0


def example_commands(url: str, token: str | None, certificate: Path | None) -> Sequence[str]:
    """Three lines for the gateway that this machine reaches by `url`: set a token, call it with curl and pyfirecrest.

    `certificate` is the gateway's when `url` is https. The commands use a host name that it is for, and name its file
    where clients of this machine do not trust it already.
    """
    trusted_file = None
    if certificate:
        url, trusted_file = _client_url(url, certificate)
    file = shlex.quote(str(trusted_file))
    cacert, environment = (
        (f"--cacert {file} ", f"SSL_CERT_FILE={file} ") if trusted_file else ("", "")
    )
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


def _client_url(url: str, certificate: Path) -> tuple[str, Path | None]:
    """The URL with a host name that the certificate is for; and its file, unless clients trust it already."""
    from passerelle.gateway import (
        certificates,
    )  # imports a library that a site without TLS need not load

    host, port = str(urlsplit(url).hostname), urlsplit(url).port
    names = certificates.covered_names(certificate)
    plain = [name for name in names if not name.startswith("*")]
    name = host if host in names or not plain else plain[0]
    shown = f"[{name}]" if ":" in name else name
    trusted = _is_trusted((host, port or 443), name)
    return f"https://{shown}:{port}", None if trusted else certificate


def _is_trusted(address: tuple[str, int], name: str) -> bool:
    """Whether a client of this machine trusts the certificate of the server at `address` as one of `name`."""
    context = ssl.create_default_context()
    try:
        with (
            socket.create_connection(address, _CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=name),
        ):
            return True
    except OSError:
        return False

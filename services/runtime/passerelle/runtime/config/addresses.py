"""Types for host:port, hosts and URLs in the configuration, which refuse anything else."""

import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

_ALL_HOSTS = {"", "0.0.0.0", "::"}  # noqa: S104  # compared with, not bound
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")  # RFC 1123 §2.1, and `_`


def is_loopback(address: str) -> bool:
    """Whether `host:port`, or a URL, names this machine's loopback interface: as an address, or as `localhost`."""
    host = urlsplit(address if "//" in address else f"//{address}").hostname or ""
    return host == "localhost" or (is_ip(host) and ip_address(host).is_loopback)


def is_plain_http(url: str) -> bool:
    """Whether others can read and change what `url` answers: plain HTTP to another machine."""
    return url.lower().startswith("http://") and not is_loopback(url)


def is_ip(host: str) -> bool:
    """Whether it is an IP address, without brackets."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def clashing(address: str, taken: Iterable[tuple[str, str]]) -> str | None:
    """The key of the first of `taken` (keys and addresses) that has the same port, on the same host or on all hosts.

    None when there is none.
    """
    host, port = address_parts(address)
    for key, other in taken:
        other_host, other_port = address_parts(other)
        if port == other_port != 0 and (host == other_host or {host, other_host} & _ALL_HOSTS):
            return key
    return None


def later_port(address: str, number: int) -> str:
    """host:port, with the port that is `number` after that of `address`."""
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + number}"


def address_parts(address: str) -> tuple[str, int]:
    """Host, without brackets, and port of `host:port`."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _host(host: str) -> str:
    if not (is_ip(host) or _NAME.fullmatch(host)):
        raise ValueError(
            "a host's name or address and no more, such as login.example.org; ports and users have keys of their own"
        )
    return host


def _address(address: str) -> str:
    host, _, port = address.rpartition(":")
    in_brackets = host.startswith("[") and host.endswith("]")
    name = host[1:-1] if in_brackets else host
    is_host = is_ip(name) if in_brackets else not name or bool(_NAME.fullmatch(name))
    if not (is_host and port.isascii() and port.isdecimal() and int(port) < 65536):
        raise ValueError("not host:port, such as 127.0.0.1:8000 or [::1]:8000")
    return address


def _listen_address(address: str) -> str:
    if not is_ip(address.rpartition(":")[0].strip("[]")):
        raise ValueError(
            "Envoy listens on addresses, not on names: write 127.0.0.1:8000, 0.0.0.0:443 or [::]:443"
        )
    return address


def _url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("not a URL with a host, such as https://idp.example.org/path")
    return url


Host = Annotated[str, AfterValidator(_host)]
"""A host's name or IP address."""

Address = Annotated[str, AfterValidator(_address)]
"""host:port, an IPv6 address in brackets; without a host, the port of all interfaces."""

ListenAddress = Annotated[Address, AfterValidator(_listen_address)]
"""host:port where Envoy listens: with an IP address."""

Url = Annotated[str, AfterValidator(_url)]
"""An https:// or http:// URL."""

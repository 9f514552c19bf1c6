"""Listening sockets that outlive the process that serves them.

`passerelle up` keeps the sockets of servers that can take one over: while such a server restarts, its clients wait in
the kernel's queue instead of being refused. The idea is systemd's socket activation (sd_listen_fds(3)).
"""

import errno
import os
import socket
from collections.abc import Mapping

from passerelle.runtime.config.site import ConfigError

_VARIABLE = "PASSERELLE_SOCKETS"
_BACKLOG = 256


def listening(address: str) -> socket.socket:
    """A socket that listens on `address` (host:port): the one that was kept for us, or else a new one.

    Raises OSError when a new one cannot be had.
    """
    descriptors = dict(pair.split("=") for pair in os.environ.get(_VARIABLE, "").split())
    if address in descriptors:
        return socket.socket(fileno=os.dup(int(descriptors[address])))
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host.strip("[]"), int(port)), family=family, backlog=_BACKLOG)


def require_free(key: str, address: str, *, shared: bool = False) -> None:
    """Raise ConfigError, naming the configuration's `key`, unless we can listen on `address` (host:port).

    `shared` accepts a port that others hold with SO_REUSEPORT.
    """
    host, port = split(key, address)
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
            probe.bind(place)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(f"{key}: port {port} of {host} is taken by another program") from None
        raise ConfigError(f"{key}: cannot listen on {address}: {error.strerror}") from None


def split(key: str, address: str) -> tuple[str, int]:
    """Host, without brackets, and port of an `address`; ConfigError names the `key` when it is not host:port."""
    host, _, port = address.rpartition(":")
    if not (port.isascii() and port.isdecimal() and int(port) < 65536):
        raise ConfigError(f"{key}: {address!r} is not host:port")
    return host.strip("[]"), int(port)


def environment(listening: Mapping[str, socket.socket]) -> dict[str, str]:
    """What tells a child about the sockets, by address, whose descriptors it inherits."""
    if not listening:
        return {}
    return {_VARIABLE: " ".join(f"{name}={socket.fileno()}" for name, socket in listening.items())}

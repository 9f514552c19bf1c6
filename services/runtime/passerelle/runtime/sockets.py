"""Listening sockets that outlive the process that serves them.

`passerelle up` keeps the sockets of servers that can take one over: while such a server restarts, its clients wait in
the kernel's queue instead of being refused. The idea is systemd's socket activation (sd_listen_fds(3)).
"""

import os
import socket
from collections.abc import Mapping

_VARIABLE = "PASSERELLE_SOCKETS"
_BACKLOG = 256


def listening(address: str) -> socket.socket:
    """A socket that listens on `address` (host:port): the one that was kept for us, or else a new one.

    Raises OSError when a new one cannot be had.
    """
    kept = dict(pair.split("=") for pair in os.environ.get(_VARIABLE, "").split())
    if address in kept:
        return socket.socket(fileno=os.dup(int(kept[address])))
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host.strip("[]"), int(port)), family=family, backlog=_BACKLOG)


def environment(kept: Mapping[str, socket.socket]) -> dict[str, str]:
    """What tells a child about the sockets, by address, whose descriptors it inherits."""
    if not kept:
        return {}
    return {_VARIABLE: " ".join(f"{name}={found.fileno()}" for name, found in kept.items())}

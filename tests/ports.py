"""Free ports on loopback for servers of the tests, safe where several workers ask at once."""

import itertools
import os
import socket

_FIRST = 10_000  # below those that deploy/cluster takes, and those that the kernel gives outgoing connections
_OF_A_WORKER = 500
_WORKERS = 20

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
_start = os.getpid()  # runs side by side seldom begin at the same port
_turns = itertools.count(_start)


def free_port() -> int:
    """A free port; no other worker of this run gets it, and this one not soon again."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """The first of `count` such ports in a row."""
    for _ in range(_OF_A_WORKER):
        taken = [next(_turns) % _OF_A_WORKER for _ in range(count)]
        first = _FIRST + _worker * _OF_A_WORKER + taken[0]
        if taken[-1] - taken[0] == count - 1 and all(map(_free, range(first, first + count))):
            return first
    raise RuntimeError(f"no {count} free ports in a row")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do after a restart
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

"""Prometheus metrics that several services have, and the server that shows all metrics of a process.

No metric has a user's name as a label.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge, Histogram, start_http_server

RPCS = Counter("passerelle_rpc_total", "RPCs answered.", ["method", "code"])
RPCS_OPEN = Gauge("passerelle_rpc_open", "RPCs being served now.", ["method"])
RPC_SECONDS = Histogram(
    "passerelle_rpc_seconds",
    "Time from a request to the end of its answer.",
    ["method"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60),
)
SSH_CONNECTIONS = Gauge("passerelle_ssh_connections", "SSH connections open now.", ["system"])
SSH_CONNECTIONS_LIMIT = Gauge(
    "passerelle_ssh_connections_limit",
    "SSH connections that may be open at once (ssh.max_connections).",
    ["system"],
)
SSH_CONNECTS = Counter(
    "passerelle_ssh_connects_total",
    "Attempts to connect to a system and log in, by what became of them.",
    ["system", "outcome"],
)
CALLS_WAITING = Gauge(
    "passerelle_calls_waiting",
    "Calls that wait behind others of the same user: for an SSH channel, a place in the helper, …",
    ["system", "queue"],
)


@contextmanager
def serving_metrics(address: str | None) -> Iterator[None]:
    """Serve `/metrics` on `host:port` inside the block; nothing when `address` is None."""
    if address is None:
        yield
        return
    host, _, port = address.rpartition(":")
    server, thread = start_http_server(int(port), addr=host)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

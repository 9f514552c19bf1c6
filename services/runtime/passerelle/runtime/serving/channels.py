"""How one of our services keeps in touch with another one."""

RECONNECT: tuple[tuple[str, int], ...] = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
"""Channel options: gRPC's own pauses between two attempts to connect grow to minutes, too long after a restart."""

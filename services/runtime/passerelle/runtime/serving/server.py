"""Starting and stopping one gRPC server: health, graceful drain, and reflection where a site wants it."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from passerelle.runtime.pipeline.interceptors import Pipeline

log = logging.getLogger(__name__)

Register = Callable[[grpc.aio.Server], None]

DRAIN_SECONDS = 10.0
"""How long a stopping server lets calls in flight end."""

# 64 MiB: the largest reply that Envoy's transcoder takes (gateway/envoy/configuration.py). Requests are bounded there,
# and by streaming.
_OPTIONS = (
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.max_metadata_size", 128 << 10),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 600_000),
    # Streams keep gRPC's first window of 64 KiB: grown by its probes, hundreds of uploads in line held half a gigabyte.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.so_reuseport", 0),  # two servers on one port are a mistake
)


class _Checks(health.aio.HealthServicer):  # type: ignore[misc,name-defined]
    """gRPC health without `Watch`, of which anybody who reaches the port could open any number of streams."""

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:
        """Not offered. By the protocol, clients then take the service for healthy."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Ask with Check.")


class _Registrations:
    """A server while servicers are added to it, and the full names of their services."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server
        self.services: list[str] = []

    def add_generic_rpc_handlers(
        self, handlers: Sequence["grpc.ServiceRpcHandler[Any, Any]"]
    ) -> None:
        """What generated code adds a service by."""
        self.services += [handler.service_name() for handler in handlers]
        self._server.add_generic_rpc_handlers(handlers)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)


@asynccontextmanager
async def serving(
    register: Register,
    interceptors: Sequence[Pipeline] = (),
    address: str = "127.0.0.1:0",
    drain: float = DRAIN_SECONDS,
    *,
    reflect: bool = False,
) -> AsyncIterator[int]:
    """Serve what `register` adds inside the block; yields the port that was bound.

    Health knows all services that were added, and with `reflect` reflection, too. On leaving, health turns NOT_SERVING,
    and calls in flight have `drain` seconds to end.
    """
    server = grpc.aio.server(interceptors=interceptors, options=_OPTIONS)
    added = _Registrations(server)
    register(cast(grpc.aio.Server, added))  # all else it has from the server
    checks = _Checks()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    if reflect:
        named = (*added.services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(named, server)
    port = server.add_insecure_port(address)
    await server.start()
    for name in ("", *added.services):
        await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    log.info("serving", extra={"address": address, "port": port})
    try:
        yield port
    finally:
        await checks.enter_graceful_shutdown()
        await server.stop(grace=drain)


async def until_stopped() -> None:
    """Wait until the process receives SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()

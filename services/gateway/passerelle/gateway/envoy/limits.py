"""What one client, or all of them together, may hold of Envoy: connections, streams, memory, time."""

import logging
import resource
from typing import Any

from passerelle.gateway.config import GatewaySection

Json = dict[str, Any]

_ANY = "type.googleapis.com/"

# One stream's and one connection's share of what a client may send ahead, bytes: enough for 80 Mbit/s at 100 ms.
_STREAM_WINDOW = 1 << 20
_CONNECTION_WINDOW = 2 << 20

_TAKEN = "30s"  # until a client takes something of an answer of Envoy's own
_OTHER_FILES = 256  # of Envoy: logs, pipes, connections to the services
_ACCOUNTED = 20  # streams that keep 2^20 bytes or more are looked at when memory is scarce

log = logging.getLogger(__name__)


def of_connections(gateway: GatewaySection, longest: float) -> Json:
    """Fields of the HTTP connection manager; `longest` is what a call without streams may take in all, s."""
    return {
        # What goes on to a service has times of its own, see routes.py.
        "stream_idle_timeout": f"{gateway.arrival_timeout}s",
        "stream_flush_timeout": _TAKEN,
        "request_headers_timeout": f"{gateway.arrival_timeout}s",
        "common_http_protocol_options": {
            "max_stream_duration": f"{longest}s",
            "idle_timeout": f"{gateway.keep_alive}s",
            # `x_name` and `x-name` are one name to some programs, and two to others.
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        # For what, `envoy.lua` says. It need not name a host.
        "http_protocol_options": {
            "accept_http_10": True,
            "default_host_for_http_10": next(
                (name for name in gateway.host_names if "*" not in name), "localhost"
            ),
        },
        "http2_protocol_options": {
            "max_concurrent_streams": 100,
            "initial_stream_window_size": _STREAM_WINDOW,
            "initial_connection_window_size": _CONNECTION_WINDOW,
        },
        "use_remote_address": True,
        "xff_num_trusted_hops": gateway.trusted_proxies,
    }


def of_listener(gateway: GatewaySection) -> Json:
    """Fields of the listener. A connection is looked at, TLS or not, so that one without a first byte is ended."""
    look = {"@type": f"{_ANY}envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}
    return {
        "listener_filters": [
            {"name": "envoy.filters.listener.tls_inspector", "typed_config": look}
        ],
        "listener_filters_timeout": f"{gateway.arrival_timeout}s",
        "per_connection_buffer_high_watermark_timeout": f"{gateway.idle_timeout}s",
    }


def of_handshakes(gateway: GatewaySection) -> Json:
    """Fields of the listener's filter chain."""
    return {"transport_socket_connect_timeout": f"{gateway.arrival_timeout}s"}


_PAGES = "passerelle.pages"
_RATE = f"{_ANY}envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
_KEPT = 16 << 20  # bytes of one page
_SECONDS = 16.0  # until as much may be kept again
_ALWAYS = {"default_value": {"numerator": 100}}


def filter_of_pages() -> Json:
    """The HTTP filter that lets pages be asked for as often as `of_page` says."""
    return {"name": _PAGES, "typed_config": {"@type": _RATE, "stat_prefix": "pages"}}


def of_page(size: int) -> Json:
    """What a route carries that serves `size` bytes to anybody.

    Envoy copies a page for each request and keeps the copy until the client takes it: 100 streams of one connection
    could make it keep 170 MB. Larger pages are therefore given out less often.
    """
    burst = min(300, max(8, _KEPT // max(1, size)))
    bucket = {
        "max_tokens": burst,
        "tokens_per_fill": 1,
        "fill_interval": f"{_SECONDS / burst:.3f}s",
    }
    limit = {"token_bucket": bucket, "filter_enabled": _ALWAYS, "filter_enforced": _ALWAYS}
    return {_PAGES: {"@type": _RATE, "stat_prefix": "pages", **limit}}


def of_memory(gateway: GatewaySection) -> Json:
    """The overload manager.

    Past the limit of connections Envoy accepts no more. Near the limit of its heap it gives back what it can, then ends
    the streams that keep most, then answers 503.
    """
    monitors = f"{_ANY}envoy.extensions.resource_monitors"
    heap = "envoy.resource_monitors.fixed_heap"
    return {
        "refresh_interval": "0.25s",
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": _ACCOUNTED},
        "resource_monitors": [
            {
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": {
                    "@type": f"{monitors}.downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": _connections(gateway),
                },
            },
            {
                "name": heap,
                "typed_config": {
                    "@type": f"{monitors}.fixed_heap.v3.FixedHeapConfig",
                    "max_heap_size_bytes": gateway.max_memory,
                },
            },
        ],
        "actions": [
            _action("shrink_heap", heap, {"threshold": {"value": 0.8}}),
            _action(
                "reset_high_memory_stream",
                heap,
                {"scaled": {"scaling_threshold": 0.85, "saturation_threshold": 0.95}},
            ),
            _action("stop_accepting_requests", heap, {"threshold": {"value": 0.95}}),
        ],
    }


def _connections(gateway: GatewaySection) -> int:
    """No more than may be open: without a free descriptor Envoy would not refuse, but turn round and round."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    room = max(1, files - _OTHER_FILES)
    if files != resource.RLIM_INFINITY and room < gateway.max_connections:
        log.warning(
            "of gateway.max_connections, %d, there can be %d: the process may have %d files open (LimitNOFILE)",
            gateway.max_connections,
            room,
            files,
        )
        return room
    return gateway.max_connections


def _action(name: str, resource: str, when: Json) -> Json:
    return {"name": f"envoy.overload_actions.{name}", "triggers": [{"name": resource, **when}]}

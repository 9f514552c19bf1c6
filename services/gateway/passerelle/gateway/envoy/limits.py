"""How many connections and streams, and how much memory and time, one client or all together may take of Envoy."""

import logging
import resource
from typing import Any

from passerelle.gateway.config import GatewaySection

Json = dict[str, Any]

_ANY = "type.googleapis.com/"

# One stream's and one connection's share of what a client may send ahead, bytes: enough for 80 Mbit/s at 100 ms.
_STREAM_WINDOW = 1 << 20
_CONNECTION_WINDOW = 2 << 20

_FLUSH_TIMEOUT = "30s"  # for a client that reads nothing more of an answer of Envoy's own
_OTHER_FILES = 256  # that Envoy has open: logs, pipes, connections to the services
_TRACKED_POWER = 20  # when memory is scarce, streams that buffer 2^20 bytes or more may be reset

log = logging.getLogger(__name__)


def connection_limits(gateway: GatewaySection, longest: float) -> Json:
    """Fields of the HTTP connection manager; `longest` is the longest duration of a call without streams, s."""
    return {
        # Routes to services have timeouts of their own, see routes.py.
        "stream_idle_timeout": f"{gateway.arrival_timeout}s",
        "stream_flush_timeout": _FLUSH_TIMEOUT,
        "request_headers_timeout": f"{gateway.arrival_timeout}s",
        "common_http_protocol_options": {
            "max_stream_duration": f"{longest}s",
            "idle_timeout": f"{gateway.keep_alive}s",
            # `x_name` and `x-name` are one name to some programs, and two to others.
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        # `envoy.lua` decides for which surfaces. Such a request need not name a host.
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


def listener_limits(gateway: GatewaySection) -> Json:
    """Fields of the listener. The TLS inspector is for plain HTTP, too: it ends connections that send no first byte."""
    inspector = {"@type": f"{_ANY}envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}
    return {
        "listener_filters": [
            {"name": "envoy.filters.listener.tls_inspector", "typed_config": inspector}
        ],
        "listener_filters_timeout": f"{gateway.arrival_timeout}s",
        "per_connection_buffer_high_watermark_timeout": f"{gateway.idle_timeout}s",
    }


def handshake_limits(gateway: GatewaySection) -> Json:
    """Fields of the listener's filter chain."""
    return {"transport_socket_connect_timeout": f"{gateway.arrival_timeout}s"}


_PAGES = "passerelle.pages"
_RATE = f"{_ANY}envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
_MOST_COPIED = 16 << 20  # bytes of copies of one page
_REFILL_SECONDS = 16.0  # until as much may be copied again
_ALWAYS = {"default_value": {"numerator": 100}}


def page_filter() -> Json:
    """The HTTP filter that limits how often pages are served, see `page_limit`."""
    return {"name": _PAGES, "typed_config": {"@type": _RATE, "stat_prefix": "pages"}}


def page_limit(size: int) -> Json:
    """The configuration of a route that serves a page of `size` bytes to anybody.

    Envoy copies the page for each request and keeps the copy until the client has read it: 100 streams of one
    connection could make it keep 170 MB. So larger pages are served less often.
    """
    burst = min(300, max(8, _MOST_COPIED // max(1, size)))
    bucket = {
        "max_tokens": burst,
        "tokens_per_fill": 1,
        "fill_interval": f"{_REFILL_SECONDS / burst:.3f}s",
    }
    limit = {"token_bucket": bucket, "filter_enabled": _ALWAYS, "filter_enforced": _ALWAYS}
    return {_PAGES: {"@type": _RATE, "stat_prefix": "pages", **limit}}


def overload_manager(gateway: GatewaySection) -> Json:
    """The overload manager.

    At the limit of connections Envoy accepts no more. Near the limit of its heap it first frees what it can, then
    resets the streams that buffer most, then answers 503.
    """
    monitors = f"{_ANY}envoy.extensions.resource_monitors"
    heap = "envoy.resource_monitors.fixed_heap"
    return {
        "refresh_interval": "0.25s",
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": _TRACKED_POWER},
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
    """The limit of connections, within that of open files: without a free descriptor Envoy would loop, not refuse."""
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
